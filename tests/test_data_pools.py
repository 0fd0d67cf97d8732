"""Pools U: no labels, canonical order by pixels, averaged down or enlarged exactly, samples by digest, mixing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from fedecho import data
from fedecho.core.checks import InputError, MissingDataError
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.settings import Data, Evaluation, Local, Partition, PoolSource, Protocol
from fedecho.data import Images, Splits, pools, torchvision_compat
from fedecho.data.download import ARCHIVES
from fedecho.data.splits import canonical_order, digest, pixel_hashes
from fedecho.learning.inputs import _pool_images
from fedecho.learning.methods import FedBuff
from fedecho.learning.task import prepare


def test_a_config_knows_the_pools_that_can_be_loaded() -> None:
    assert get_args(PoolSource) == ("held-out", "self", *data.POOLS, *data.TEXTS)
    with pytest.raises(InputError, match="one of held-out, self, cifar10, .*, diffusion, digits, dead-leaves, noise"):
        Data(pool="leaves")  # type: ignore[arg-type]


# Photographs


def random_images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_shrinking_takes_block_means_with_halves_up() -> None:
    image = np.array([[0, 1, 10, 10], [1, 0, 10, 11]], dtype=np.uint8).reshape(1, 2, 4, 1)
    assert pools.shrink(image, 2).ravel().tolist() == [1, 10]  # means 0.5 and 10.25


def test_shrinking_the_brightest_image_does_not_overflow() -> None:
    assert pools.shrink(np.full((1, 96, 96, 3), 255, dtype=np.uint8), 3).min() == 255


def test_shrinking_equals_area_interpolation() -> None:
    torch = pytest.importorskip("torch")
    images = random_images(2, 12)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(planes, size=(4, 4), mode="area").permute(0, 2, 3, 1)
    assert np.abs(pools.shrink(images, 3) - expected.numpy()).max() <= 0.5 + 1e-9


def test_tiny_imagenet_reads_images_only(tmp_path: Path) -> None:
    images = random_images(5, 32)
    np.savez(tmp_path / "tiny_imagenet32_10k.npz", images=images, names=np.array(["n"] * 5))
    read = pools.read_unlabeled("tiny-imagenet-32", tmp_path)
    assert read.labels is None
    np.testing.assert_array_equal(read.images, images[canonical_order(images)])


def test_stl10_comes_from_either_size(tmp_path: Path) -> None:
    images = random_images(3, 96)
    np.savez(tmp_path / "stl10.npz", images=images)
    large = pools.read_unlabeled("stl10", tmp_path)
    np.savez(tmp_path / "stl10.npz", images=pools.shrink(images, 3))
    small = pools.read_unlabeled("stl10", tmp_path)
    assert large.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(large.images, small.images)


def test_stl10_through_torchvision_uses_the_unlabeled_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(3, 96)
    (tmp_path / ARCHIVES["stl10"].folder).mkdir()

    def double(root: str, split: str, download: bool) -> SimpleNamespace:
        assert (root, split, download) == (str(tmp_path), "unlabeled", False)
        return SimpleNamespace(data=images.transpose(0, 3, 1, 2))

    fake = SimpleNamespace(datasets=SimpleNamespace(STL10=double))
    monkeypatch.setattr(torchvision_compat, "torchvision", lambda: fake)
    monkeypatch.setattr(pools, "ROWS_AT_ONCE", 2)  # 3 images in two parts
    small = pools.shrink(images, 3)
    np.testing.assert_array_equal(pools.read_unlabeled("stl10", tmp_path).images, small[canonical_order(small)])


def test_a_part_of_cifar100_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(4, 32)
    np.savez(tmp_path / "cifar100_first20000.npz", images=images, labels=np.zeros(4, dtype=np.int64))
    with pytest.raises(InputError, match="digest"):
        pools.read_unlabeled("cifar100-20k", tmp_path)
    ordered = images[canonical_order(images)]
    monkeypatch.setattr(pools, "CIFAR100_PART_DIGEST", digest(ordered))
    np.testing.assert_array_equal(pools.read_unlabeled("cifar100-20k", tmp_path).images, ordered)
    with pytest.raises(MissingDataError):
        data.load_unlabeled("cifar100", tmp_path)  # a part is never taken for the whole


def test_the_part_of_a_whole_cifar100_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(6, 32)
    (tmp_path / ARCHIVES["cifar100"].folder).mkdir()
    fake = SimpleNamespace(datasets=SimpleNamespace(CIFAR100=lambda *_, **__: SimpleNamespace(data=images)))
    monkeypatch.setattr(torchvision_compat, "torchvision", lambda: fake)
    monkeypatch.setattr(pools, "CIFAR100_PART_SIZE", 4)
    ordered = images[:4][canonical_order(images[:4])]
    monkeypatch.setattr(pools, "CIFAR100_PART_DIGEST", digest(ordered))
    np.testing.assert_array_equal(pools.read_unlabeled("cifar100-20k", tmp_path).images, ordered)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar100-20k", "stl10", "tiny-imagenet-32"])
def test_absent_data_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        data.load_unlabeled(name, tmp_path)
    assert "\n" not in str(caught.value) and ".npz" in str(caught.value)
    assert ("data fetch" in str(caught.value)) == (name != "tiny-imagenet-32")


# Digits, samples of models


def use_digits(monkeypatch: pytest.MonkeyPatch, images: np.ndarray) -> None:
    fake = SimpleNamespace(load_digits=lambda: SimpleNamespace(images=images))
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)


def test_digits_become_grey_images_in_canonical_order(monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.random.default_rng(0).integers(0, 17, (4, 8, 8)).astype(float)
    use_digits(monkeypatch, small)
    images = pools.read_unlabeled("digits", Path()).images
    large = pools.enlarge(small.astype(np.int64), 28)
    np.testing.assert_array_equal(images, large[canonical_order(large)])


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingDataError, match=r"pip install fedecho\[pools\]") as caught:
        pools.digits()
    assert "\n" not in str(caught.value)


def test_enlarging_by_hand() -> None:
    # New centres lie at -1/4, 1/4, 3/4, 5/4 of the old ones; beyond the edge the edge goes on.
    row = pools.enlarge(np.array([[[0, 16], [0, 16]]]), 4)[0, 0, :, 0]
    assert row.tolist() == [0, 64, 191, 255]  # 63.75 and 191.25


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(2, 30), st.integers(0, 9))
def test_enlarging_equals_torch_s_bilinear_interpolation(small: int, more: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 17, (2, small, small))
    side = small + more
    planes = torch.from_numpy(images)[:, None].double()
    expected = torch.nn.functional.interpolate(planes, size=(side, side), mode="bilinear")[:, 0] * 255 / 16
    assert np.abs(pools.enlarge(images, side)[..., 0] - expected.numpy()).max() <= 0.5 + 1e-9


def test_generated_images_are_read_in_canonical_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "generated.npz", images=images)
    read = data.load_unlabeled("generated", tmp_path)
    np.testing.assert_array_equal(read.images, images[canonical_order(images)])


def test_generated_images_of_another_size_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "generated.npz", images=np.zeros((5, 28, 28, 1), dtype=np.uint8))
    with pytest.raises(InputError, match="32, 32, 3"):
        data.load_unlabeled("generated", tmp_path)


def test_absent_generated_images_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"python -m fedecho.data.build.generated") as caught:
        data.load_unlabeled("generated", tmp_path)
    assert "\n" not in str(caught.value)


def test_the_bundled_samples_are_no_image_of_any_split() -> None:
    images, splits = pools.diffusion(), data.load("fashion-mnist")
    assert images.shape == (5_000, 28, 28, 1)
    np.testing.assert_array_equal(canonical_order(images), np.arange(5_000))
    parts = [part.images for part in (splits.train, splits.pool, splits.validation, splits.test) if part is not None]
    assert len(np.unique(np.concatenate([pixel_hashes(part) for part in (images, *parts)]), axis=0)) == 27_000


def test_another_file_of_samples_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((2, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "diffusion.npz", images=images)
    with pytest.raises(InputError, match="digest"):
        pools.diffusion(tmp_path / "diffusion.npz")
    monkeypatch.setattr(pools, "DIFFUSION_DIGEST", digest(images))
    np.testing.assert_array_equal(pools.diffusion(tmp_path / "diffusion.npz"), images)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.floats(0.01, 0.5))
def test_mixing_adds_one_other_image_to_each(count: int, share: float) -> None:
    one_hot = 200 * np.eye(count, dtype=np.uint8)[:, :, None, None]
    out = pools.mixed(one_hot, share)[..., 0, 0]
    own, other = np.rint(200 * (1 - share)), np.rint(200 * share)
    assert np.all(np.diag(out) == own)
    off = out - np.diag(np.diag(out))
    for sums in (off.sum(axis=0), off.sum(axis=1)):  # everyone gives to one other and takes from one other
        assert np.all(sums == other)


def test_mixing_nothing_returns_the_very_images() -> None:
    images = np.zeros((3, 2, 2, 1), dtype=np.uint8)
    assert pools.mixed(images, 0.0) is images


def configured(**values: object) -> RunConfig:
    return RunConfig(FedBuff(), data=Data(**values))  # type: ignore[arg-type]


def test_mixing_enters_the_hash_only_when_it_is_used() -> None:
    assert config_hash(configured()) == config_hash(configured(pool_mix=0.0))
    assert config_hash(configured()) != config_hash(configured(pool_mix=0.1))


def test_a_run_sees_the_mixed_pool() -> None:
    splits = data.load("fashion-mnist")
    plain, mixed = (_pool_images(splits, configured(pool_size=5, pool_mix=m), None) for m in (0.0, 0.5))
    assert splits.pool is not None
    np.testing.assert_array_equal(plain, splits.pool.images[:5])
    np.testing.assert_array_equal(mixed, pools.mixed(plain, 0.5))
    assert not np.array_equal(mixed, plain)


def even(*values: int, labels: bool = True) -> Images:
    """Images that are one value all over, of classes 0, 1, 0, 1, ..."""
    pixels = np.tile(np.array(values, dtype=np.uint8)[:, None, None, None], (1, 28, 28, 1))
    return Images(pixels, np.arange(len(values)) % 2 if labels else None)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_task_takes_its_pool_from_the_pool_split(split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": even(*range(8)), "validation": even(50, 51, 52), "test": even(100, 101, 102)}
    toy = Splits("toy", ("a", "b"), pool=even(200, 201, 202, labels=False), digest="d", **parts)
    monkeypatch.setattr(data, "load", lambda name, root: toy)
    config = RunConfig(
        FedBuff(), data=Data(pool_size=2), protocol=Protocol(2, 2, 1, 1), partition=Partition("iid", min_size=1),
        evaluation=Evaluation(split=split), local=Local(augment=True), model="cnn",
    )  # fmt: skip
    task = prepare(config, torch.device("cpu"))
    pool, scored = (
        (255 * (0.3530 * part[:, 0, 0, 0] + 0.2860)).round().tolist() for part in (task.pool, task.held_out.images)
    )
    assert pool == [200, 201]
    assert scored == ([100, 101, 102] if split == "test" else [50, 51, 52])


def test_the_pool_is_the_pool_split_and_shares_no_image_with_the_others() -> None:
    splits = data.load("fashion-mnist")
    assert splits.pool is not None and splits.validation is not None
    images = _pool_images(splits, configured(pool_size=1000), None)
    np.testing.assert_array_equal(images, splits.pool.images[:1000])
    own = set(map(bytes, pixel_hashes(images)))
    for other in (splits.train, splits.validation, splits.test):
        assert own.isdisjoint(map(bytes, pixel_hashes(other.images)))


def test_a_procedural_pool_takes_the_size_and_shape_of_the_task() -> None:
    splits = data.load("fashion-mnist")
    assert _pool_images(splits, configured(pool="noise", pool_size=7), None).shape == (7, 28, 28, 1)


def test_a_pool_of_another_shape_is_refused_in_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "generated.npz", images=np.zeros((5, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"\(32, 32, 3\), those of fashion-mnist \(28, 28, 1\)") as caught:
        _pool_images(data.load("fashion-mnist"), configured(pool="generated", pool_size=5), tmp_path)
    assert "\n" not in str(caught.value)
