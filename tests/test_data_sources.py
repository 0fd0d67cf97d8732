"""CIFAR from a folder of batches or an .npz: the same splits; bad or absent data refused with one line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedecho import data
from fedecho.core.checks import InputError, MissingDataError
from fedecho.data import sources, torchvision_compat
from fedecho.data.download import ARCHIVES
from fedecho.data.splits import joint_digest

TOY = sources.Cifar("cifar10", ("a", "b"), digest=None, train=6, test=4)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


def toy_arrays() -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 1])
    parts = (pixels[:6], labels[:6], pixels[6:], labels[6:])
    return dict(zip(("train_images", "train_labels", "test_images", "test_labels"), parts, strict=True))


def write_batches(root: Path, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Write CIFAR-style pickled batches of the toy images, reversed, and return each file's md5."""
    folder = root / ARCHIVES["cifar10"].folder
    folder.mkdir()
    content: dict[str, dict[str, object]] = {"batches.meta": {"label_names": ["a", "b"]}}
    for name, part in (("data_batch_1", "train"), ("test_batch", "test")):
        planes = arrays[f"{part}_images"][::-1].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content[name] = {"data": planes, "labels": arrays[f"{part}_labels"][::-1].tolist()}
    for name, batch in content.items():
        (folder / name).write_bytes(pickle.dumps(batch))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in content}


def use_checksums(md5s: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's real CIFAR10 class expect the toy batches' checksums."""
    from fedecho.data.torchvision_compat import torchvision

    dataset = torchvision().datasets.CIFAR10
    monkeypatch.setattr(dataset, "train_list", [["data_batch_1", md5s["data_batch_1"]]])
    monkeypatch.setattr(dataset, "test_list", [["test_batch", md5s["test_batch"]]])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5s["batches.meta"]})


def test_an_npz_gives_canonical_splits_and_their_digest(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", **toy_arrays())
    splits = sources.load_cifar(TOY, tmp_path)
    assert (len(splits.train), len(splits.test), splits.classes) == (6, 4, ("a", "b"))
    assert splits.pool is None and splits.validation is None
    assert splits.digest == joint_digest(splits.train, splits.test)


def test_the_order_of_the_npz_does_not_matter(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, step in ((first, 1), (second, -1)):
        folder.mkdir()
        np.savez(folder / "cifar10.npz", **{key: array[::step] for key, array in toy_arrays().items()})
    assert sources.load_cifar(TOY, first).digest == sources.load_cifar(TOY, second).digest


@needs_torchvision
def test_batches_and_npz_of_the_same_images_give_the_same_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = toy_arrays()
    np.savez(tmp_path / "cifar10.npz", **arrays)
    from_npz = sources.load_cifar(TOY, tmp_path)
    (tmp_path / "cifar10.npz").unlink()
    use_checksums(write_batches(tmp_path, arrays), monkeypatch)
    from_batches = sources.load_cifar(TOY, tmp_path)
    assert from_batches.digest == from_npz.digest
    np.testing.assert_array_equal(from_batches.train.images, from_npz.train.images)


class Bomb:
    """Creates the file `path` when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


@needs_torchvision
@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_batch_with_another_checksum_is_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    use_checksums(write_batches(tmp_path, toy_arrays()), monkeypatch)
    (tmp_path / ARCHIVES["cifar10"].folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(InputError, match="delete the folder"):
        sources.load_cifar(TOY, tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_the_folder_is_asked_before_the_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = toy_arrays()
    np.savez(tmp_path / "cifar10.npz", **arrays)
    (tmp_path / ARCHIVES["cifar10"].folder).mkdir()

    def double(root: str, train: bool, download: bool) -> SimpleNamespace:
        assert root == str(tmp_path) and not download
        part = "train" if train else "test"
        return SimpleNamespace(data=255 - arrays[f"{part}_images"], targets=arrays[f"{part}_labels"].tolist())

    fake = SimpleNamespace(datasets=SimpleNamespace(CIFAR10=double))
    monkeypatch.setattr(torchvision_compat, "torchvision", lambda: fake)
    splits = sources.load_cifar(TOY, tmp_path)
    assert splits.train.images.sum() == (255 - arrays["train_images"].astype(int)).sum()


def test_without_torchvision_a_folder_of_batches_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ModuleNotFoundError("No module named 'torchvision'")

    (tmp_path / ARCHIVES["cifar10"].folder).mkdir()
    monkeypatch.setattr(torchvision_compat, "torchvision", absent)
    with pytest.raises(InputError, match="needs torchvision"):
        sources.load_cifar(TOY, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"train_images": np.zeros((6, 28, 28, 3), dtype=np.uint8)},
        {"train_images": np.zeros((6, 32, 32, 3))},
        {"train_images": np.zeros((5, 32, 32, 3), dtype=np.uint8)},
        {"train_labels": np.array([0, 0, 0, 0, 1, 1])},
        {"train_labels": np.array([0, 0, 0, 2, 2, 2])},
        {"train_labels": np.array([-1, 0, 0, 1, 1, 1])},
        {"train_labels": np.zeros(6)},
        {"test_labels": np.array([0, 1])},
        {"test_images": np.array([{"a": "pickle"}], dtype=object)},
    ],
)
def test_an_npz_of_another_structure_is_refused(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "cifar10.npz", **{**toy_arrays(), **change})
    with pytest.raises(InputError) as caught:
        sources.load_cifar(TOY, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_npz_lacking_an_array_is_refused_by_the_names(tmp_path: Path) -> None:
    arrays = toy_arrays()
    del arrays["test_labels"]
    np.savez(tmp_path / "cifar10.npz", **arrays)
    with pytest.raises(InputError, match="train_images, train_labels, test_images, test_labels"):
        sources.load_cifar(TOY, tmp_path)


def test_an_npz_with_another_digest_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", **toy_arrays())
    with pytest.raises(InputError, match="digest"):
        sources.load_cifar(sources.Cifar("cifar10", ("a", "b"), digest="0" * 64, train=6, test=4), tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_absent_data_says_how_to_get_it_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        data.load(name, tmp_path)
    message = str(caught.value)
    for part in (f"fedecho data fetch {name}", ARCHIVES[name].file, str(tmp_path / f"{name}.npz"), "FEDECHO_DATA"):
        assert part in message
    assert "\n" not in message


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(InputError, match="fashion-mnist, cifar10, cifar100"):
        data.load("cifar-10")
    with pytest.raises(InputError, match="stl10"):
        data.load_unlabeled("fashion-mnist")


def test_data_root_prefers_argument_then_variable_then_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "variable"))
    assert data.data_root(tmp_path) == tmp_path
    assert data.data_root(None) == tmp_path / "variable"
    monkeypatch.delenv("FEDECHO_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.data_root(None) == tmp_path / "cache" / "fedecho"


def test_class_names_are_complete() -> None:
    assert [len(cifar.classes) for cifar in sources.CIFARS.values()] == [10, 100]
    fine = sources.CIFARS["cifar100"].classes
    assert list(fine) == sorted(set(fine))


REAL = Path(os.environ.get("FEDECHO_DATA", "")) / "cifar10.npz"


@pytest.mark.skipif("FEDECHO_DATA" not in os.environ or not REAL.is_file(), reason="no cifar10.npz in FEDECHO_DATA")
def test_real_cifar10_npz_has_the_known_digest() -> None:
    splits = sources.load_cifar(sources.CIFARS["cifar10"], REAL.parent)
    assert splits.train.labels is not None and splits.test.labels is not None
    assert np.bincount(splits.train.labels).tolist() == [5_000] * 10
    assert np.bincount(splits.test.labels).tolist() == [1_000] * 10
    assert splits.digest == sources.CIFARS["cifar10"].digest
