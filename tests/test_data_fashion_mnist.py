"""The bundle holds what its README says, and a changed one is refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fedecho.core.checks import InputError
from fedecho.core.files import bundled_path
from fedecho.data import load, sources
from fedecho.data.build import fashion_mnist as build_fashion_mnist
from fedecho.data.splits import Images, canonical_order, pixel_hashes


def all_parts() -> dict[str, Images]:
    splits = load("fashion-mnist")
    assert splits.pool is not None and splits.validation is not None
    return {"train": splits.train, "pool": splits.pool, "validation": splits.validation, "test": splits.test}


def test_counts_shapes_and_balance() -> None:
    for split, part in all_parts().items():
        assert part.images.shape == (sources.FASHION_COUNTS[split], 28, 28, 1)
        if part.labels is not None:
            assert np.bincount(part.labels).tolist() == [len(part) // 10] * 10


def test_the_pool_has_no_labels_not_even_in_the_file() -> None:
    assert all_parts()["pool"].labels is None
    with zipfile.ZipFile(bundled_path(sources.FASHION_FILE)) as archive:
        assert sorted(archive.namelist()) == sorted(f"{key}.npy" for key in sources.FASHION_KEYS)
    assert "pool_labels" not in sources.FASHION_KEYS


def test_no_image_occurs_twice() -> None:
    hashes = np.concatenate([pixel_hashes(part.images) for part in all_parts().values()])
    assert len(np.unique(hashes, axis=0)) == sum(sources.FASHION_COUNTS.values())


def test_every_split_is_in_canonical_order() -> None:
    for part in all_parts().values():
        order = canonical_order(part.images, part.labels)
        np.testing.assert_array_equal(order, np.arange(len(part)))


def test_loading_twice_reads_once() -> None:
    assert load("fashion-mnist") is load("fashion-mnist", Path("anywhere"))


def test_a_changed_pixel_is_refused(tmp_path: Path) -> None:
    with np.load(bundled_path(sources.FASHION_FILE), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["test_images"][0, 0, 0] ^= 1
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(InputError, match="digest"):
        sources.load_fashion_mnist(tmp_path / "changed.npz")


def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(bundled_path(sources.FASHION_FILE).read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        sources.load_fashion_mnist(tmp_path / "cut.npz")
    assert "\n" not in str(caught.value)


def test_the_build_refuses_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16 + 784)))
    with pytest.raises(InputError, match="SOURCE_DIR"):
        build_fashion_mnist.build(tmp_path, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def toy(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1)


def test_choice_drops_repeats_and_test_images_seen_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FASHION_CLASSES", ("a", "b"))
    monkeypatch.setattr(sources, "FASHION_COUNTS", {"train": 4, "pool": 2, "validation": 2, "test": 2})
    train = toy([0, 1, 2, 3, 3, 10, 11, 12, 13, 0])  # 3 twice; 0 once per label: it counts as the lower one
    train_labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    parts = build_fashion_mnist.choose(train, train_labels, toy([2, 20, 12, 21]), np.array([0, 0, 1, 1]))
    used = [int(v) for part in parts.values() for v in part.images.ravel()]
    assert sorted(used) == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21]
    assert sorted(parts["test"].images.ravel().tolist()) == [20, 21]
    assert parts["pool"].labels is None
    assert parts["train"].labels is not None and sorted(parts["train"].labels.tolist()) == [0, 0, 1, 1]


def test_the_build_writes_the_same_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Images(np.zeros((1, 28, 28, 1), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    parts = {"train": one, "pool": one.unlabeled(), "validation": one, "test": one}
    build_fashion_mnist._write(tmp_path / "a.npz", parts)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert np.load(io.BytesIO(archive.read("pool_images.npy"))).shape == (1, 28, 28)
