"""Data sets in parts: put together again byte for byte; a lost or damaged part leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedecho.core.checks import InputError
from fedecho.data import pack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with 30 images: about 90 kB, which do not compress."""
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "tiny_imagenet32_10k.npz", images=pixels)
    return folder


@pytest.fixture
def packed(root: Path, tmp_path: Path) -> Path:
    pack.pack(tmp_path / "parts", ["tiny-imagenet-32"], root, part=40_000 / 2**20)
    return tmp_path / "parts"


def test_parts_are_small_and_named_in_the_index(packed: Path) -> None:
    sizes = [path.stat().st_size for path in sorted(packed.glob("*.npz.*"))]
    assert len(sizes) == 3 and sizes[:2] == [40_000, 40_000] and 0 < sizes[2] <= 40_000
    (parts,) = json.loads((packed / "index.json").read_text()).values()
    assert list(parts) == sorted(path.name for path in packed.glob("*.npz.*"))
    assert len(list(packed.iterdir())) == 4


def test_unpacked_on_a_bare_machine_the_images_are_the_same(root: Path, packed: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert pack.unpack(packed, there) == [there / "tiny_imagenet32_10k.npz"]
    one, two = (pack.read_unlabeled("tiny-imagenet-32", folder).images for folder in (root, there))
    np.testing.assert_array_equal(one, two)
    assert len(list(there.iterdir())) == 1


def test_packing_twice_gives_the_same_bytes(root: Path, packed: Path, tmp_path: Path) -> None:
    pack.pack(tmp_path / "again", ["tiny-imagenet-32"], root, part=40_000 / 2**20)
    assert (tmp_path / "again" / "index.json").read_bytes() == (packed / "index.json").read_bytes()


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_bad_part_is_named_and_nothing_is_written(packed: Path, tmp_path: Path, damage: str) -> None:
    part = packed / "tiny_imagenet32_10k.npz.01"
    part.unlink() if damage == "lost" else part.write_bytes(b"\0" + part.read_bytes()[1:])
    with pytest.raises(InputError, match=r"part = .*npz\.01.* copy it again"):
        pack.unpack(packed, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("text", ["", "[1]", '{"../x": {}}', '{"x": {"../y": ""}}', '{"x": 1}'])
def test_a_bad_index_is_refused(packed: Path, tmp_path: Path, text: str) -> None:
    (packed / "index.json").write_text(text)
    with pytest.raises(InputError, match="it is not an index .*; pack again"):
        pack.unpack(packed, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_bad_input_is_one_line_and_writes_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "parts"
    for names, words in ((["mnist"], "cifar100-20k"), ([], "choose some"), (["cifar10"], "fedecho data fetch cifar10")):
        with pytest.raises(SystemExit) as stop:
            pack.main(["pack", str(parts), *names, "--data-root", str(root)])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and words in err and len(err.strip().splitlines()) == 1
    with pytest.raises(InputError, match="new or empty"):
        pack.pack(root, ["tiny-imagenet-32"], root)
    assert not parts.exists()


def test_the_command_says_what_it_wrote(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack.main(["pack", str(tmp_path / "parts"), "tiny-imagenet-32", "--data-root", str(root), "--part", "0.05"])
    pack.main(["unpack", str(tmp_path / "parts"), "--data-root", str(tmp_path / "there")])
    assert capsys.readouterr().out.count("MiB") == 2 + 1 + 1
