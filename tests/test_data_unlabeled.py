"""External U: no labels, canonical order by pixels, STL-10 averaged down exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedecho.core.checks import InputError, MissingDataError
from fedecho.data import sources, unlabeled
from fedecho.data.archives import ARCHIVES
from fedecho.data.canonical import canonical_order, digest


def random_images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_shrinking_takes_block_means_with_halves_up() -> None:
    image = np.array([[0, 1, 10, 10], [1, 0, 10, 11]], dtype=np.uint8).reshape(1, 2, 4, 1)
    assert unlabeled.shrink(image, 2).ravel().tolist() == [1, 10]  # means 0.5 and 10.25


def test_shrinking_the_brightest_image_does_not_overflow() -> None:
    assert unlabeled.shrink(np.full((1, 96, 96, 3), 255, dtype=np.uint8), 3).min() == 255


def test_shrinking_equals_area_interpolation() -> None:
    torch = pytest.importorskip("torch")
    images = random_images(2, 12)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(planes, size=(4, 4), mode="area").permute(0, 2, 3, 1)
    assert np.abs(unlabeled.shrink(images, 3) - expected.numpy()).max() <= 0.5 + 1e-9


def test_tiny_imagenet_reads_images_only(tmp_path: Path) -> None:
    images = random_images(5, 32)
    np.savez(tmp_path / "tiny_imagenet32_10k.npz", images=images, names=np.array(["n"] * 5))
    read = unlabeled.read_unlabeled("tiny-imagenet-32", tmp_path)
    assert read.labels is None
    np.testing.assert_array_equal(read.images, images[canonical_order(images)])


def test_stl10_comes_from_either_size(tmp_path: Path) -> None:
    images = random_images(3, 96)
    np.savez(tmp_path / "stl10.npz", images=images)
    large = unlabeled.read_unlabeled("stl10", tmp_path)
    np.savez(tmp_path / "stl10.npz", images=unlabeled.shrink(images, 3))
    small = unlabeled.read_unlabeled("stl10", tmp_path)
    assert large.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(large.images, small.images)


def test_stl10_through_torchvision_uses_the_unlabeled_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(3, 96)
    (tmp_path / ARCHIVES["stl10"].folder).mkdir()

    def double(root: str, split: str, download: bool) -> SimpleNamespace:
        assert (root, split, download) == (str(tmp_path), "unlabeled", False)
        return SimpleNamespace(data=images.transpose(0, 3, 1, 2))

    fake = SimpleNamespace(datasets=SimpleNamespace(STL10=double))
    monkeypatch.setattr(sources, "torchvision", lambda: fake)
    monkeypatch.setattr(unlabeled, "ROWS_AT_ONCE", 2)  # 3 images in two parts
    small = unlabeled.shrink(images, 3)
    np.testing.assert_array_equal(unlabeled.read_unlabeled("stl10", tmp_path).images, small[canonical_order(small)])


def test_a_part_of_cifar100_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(4, 32)
    np.savez(tmp_path / "cifar100_first20000.npz", images=images, labels=np.zeros(4, dtype=np.int64))
    with pytest.raises(InputError, match="digest"):
        unlabeled.read_unlabeled("cifar100-20k", tmp_path)
    ordered = images[canonical_order(images)]
    monkeypatch.setattr(unlabeled, "CIFAR100_PART_DIGEST", digest(ordered))
    np.testing.assert_array_equal(unlabeled.read_unlabeled("cifar100-20k", tmp_path).images, ordered)
    with pytest.raises(MissingDataError):
        unlabeled.read_unlabeled("cifar100", tmp_path)  # a part is never taken for the whole


def test_the_part_of_a_whole_cifar100_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(6, 32)
    (tmp_path / ARCHIVES["cifar100"].folder).mkdir()
    fake = SimpleNamespace(datasets=SimpleNamespace(CIFAR100=lambda *_, **__: SimpleNamespace(data=images)))
    monkeypatch.setattr(sources, "torchvision", lambda: fake)
    monkeypatch.setattr(unlabeled, "CIFAR100_PART_SIZE", 4)
    ordered = images[:4][canonical_order(images[:4])]
    monkeypatch.setattr(unlabeled, "CIFAR100_PART_DIGEST", digest(ordered))
    np.testing.assert_array_equal(unlabeled.read_unlabeled("cifar100-20k", tmp_path).images, ordered)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar100-20k", "stl10", "tiny-imagenet-32"])
def test_absent_data_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        unlabeled.read_unlabeled(name, tmp_path)
    assert "\n" not in str(caught.value) and ".npz" in str(caught.value)
    assert ("data fetch" in str(caught.value)) == (name != "tiny-imagenet-32")
