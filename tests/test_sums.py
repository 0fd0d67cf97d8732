"""Files without room for a digest of their own: an edit is noticed, and `sha256sum` agrees."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from fedecho.core import store
from fedecho.core.checks import InputError, RecordError
from fedecho.report import reported


def test_what_is_sealed_is_believed_until_it_is_edited(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("1")
    two.write_text("2")
    store.seal(one)
    store.seal(two)
    listed = (tmp_path / store.SUMS).read_text()
    assert listed == "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in (one, two))
    assert store.require_sealed(one) == one
    one.write_text("3")
    with pytest.raises(RecordError, match=r"a.csv.* was edited or damaged") as caught:
        store.require_sealed(one)
    assert caught.value.code == 1 and store.require_sealed(two) == two
    store.seal(one)
    assert store.require_sealed(one) == one


def test_what_is_not_sealed_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(RecordError, match="SHA256SUMS beside it has no digest of it"):
        store.require_sealed(tmp_path / "a.csv")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
@pytest.mark.parametrize("folder", [reported.FOLDER, reported.FOLDER.parent], ids=lambda folder: folder.name)
def test_another_program_finds_the_same(folder: Path) -> None:
    assert subprocess.run(["sha256sum", "--check", "--quiet", store.SUMS], cwd=folder).returncode == 0


def test_the_papers_numbers_are_sealed() -> None:
    for path in reported.FOLDER.glob("*.csv"):
        assert len(reported.numbers(path.stem)) > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("75.39", "175.39", r"vision.csv: value = 175.39 .*give a number in \[0, 100\]"), ("75.39", "", "value = nan"),
     ("75.39", "about 75", "value = 'about 75'|value = '74.14'")],
)  # fmt: skip
def test_a_number_that_none_can_be_is_refused(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (reported.FOLDER / "vision.csv").read_text()
    monkeypatch.setattr(reported, "FOLDER", tmp_path)
    (tmp_path / "vision.csv").write_text(text.replace(old, new))
    with pytest.raises(RecordError, match="no digest"):
        reported.numbers("vision")
    store.seal(tmp_path / "vision.csv")
    with pytest.raises(InputError, match=message):
        reported.numbers("vision")
    with pytest.raises(InputError, match="no such file"):
        reported.numbers("hearing")


def test_each_profile_has_its_own_list(tmp_path: Path) -> None:
    for name in ("claims.json", "claims-smoke.json"):
        (tmp_path / name).write_text(name)
        store.seal(tmp_path / name)
    assert [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == ["claims.json"]
    assert store.require_sealed(tmp_path / "claims-smoke.json") and (tmp_path / "SHA256SUMS-smoke").is_file()
