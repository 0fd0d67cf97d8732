"""Sizes that the documentation states, and initial weights that depend on the seed alone."""

import pytest
import torch

from fedecho.core.checks import InputError
from fedecho.learning import models
from fedecho.learning.flat import FlatModel


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "buffers"),
    [
        ("cnn", (1, 28, 28), 10_362, 0),
        ("cnn-w2", (1, 28, 28), 29_930, 0),
        ("cnn-batchnorm", (1, 28, 28), 10_362 + 2 * 48, 2 * 48),
        # 12 * 16 * 9 for the stem; 2 * 16 * 16 * 9; 16 * 32 * (9 + 1) + 32 * 32 * 9; the same twice as wide; 650 at the
        # end; and two for each channel that is normalised, 16 + 2 * 16 + 3 * 32 + 3 * 64.
        ("resnet8", (3, 32, 32), 79_338, 2 * 336),
        ("resnet8-groupnorm", (3, 32, 32), 79_338, 0),
        ("resnet18", (3, 32, 32), 11_173_962, 9_600),
        ("resnet18-groupnorm", (3, 32, 32), 11_173_962, 0),
    ],
)
def test_sizes(name: str, shape: tuple[int, int, int], parameters: int, buffers: int) -> None:
    model = FlatModel(models.build(name, shape, 10, seed=0))
    assert (len(model.params), len(model.buffers)) == (parameters, buffers)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_cnn_runs_on_both_image_sizes(shape: tuple[int, int, int]) -> None:
    assert models.build("cnn", shape, 7, 0)(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "expected"), [("resnet18", 1600), ("resnet18-groupnorm", 1600), ("resnet18-fan-out", 7680 + 64 / 3)]
)
def test_resnet18_starts_as_the_official_model_does(name: str, expected: float) -> None:
    # torch's default is U(-a, a), a^2 = 1 / fan_in: a kernel's squared norm is a third of its output channels, of which
    # all have 64 + 4 * 64 + 5 * (128 + 256 + 512) = 4,800. Kaiming's is twice the input channels, but for the stem.
    kernels = [m for m in models.build(name, (3, 32, 32), 10, 0).modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(int(m.weight.shape[0]) for m in kernels) == 4800
    assert sum(float((m.weight.detach() ** 2).sum()) for m in kernels) == pytest.approx(expected, rel=0.01)


def test_resnet18_maps_cifar_images_to_logits() -> None:
    model = models.build("resnet18", (3, 32, 32), 10, 0).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
        assert model.layer4(model.layer3(model.layer2(model.layer1(torch.zeros(1, 64, 32, 32))))).shape[-1] == 4


def test_a_block_adds_what_came_in() -> None:
    images = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]]]])
    same, half = (models.Block(1, 1, stride, torch.nn.BatchNorm2d).eval() for stride in (1, 2))
    for block in (same, half):
        torch.nn.init.zeros_(block.body[0].weight)  # what is left is the way beside
    assert same(images).tolist() == [[[[1, 0], [3, 4]]]]
    torch.nn.init.constant_(half.beside[0].weight, 2.0)
    assert half(images).item() == pytest.approx(2, rel=1e-4)  # the first of each four, times 2
    torch.nn.init.dirac_(same.body[0].weight)
    torch.nn.init.dirac_(same.body[3].weight)
    assert torch.allclose(same(images), torch.tensor([[[[2.0, 0], [6, 8]]]]), rtol=1e-4)


def test_initial_weights_depend_on_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (FlatModel(models.build("cnn", (1, 28, 28), 10, seed)).params for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_unknown_model() -> None:
    with pytest.raises(InputError, match="resnet18"):
        models.build("resnet999", (3, 32, 32), 10, 0)


def test_the_fixed_stem_can_be_applied_beforehand() -> None:
    images = torch.rand(5, 1, 28, 28)
    model = models.build("cnn", (1, 28, 28), 10, 0)
    stem, rest = models.split_stem(model)
    assert torch.equal(rest(stem(images)), model(images))
    assert list(stem.parameters()) == [] and len(list(rest.parameters())) == len(list(model.parameters()))


def test_a_model_that_begins_with_weights_has_no_stem() -> None:
    model = models.build("resnet18", (3, 32, 32), 10, 0)
    assert models.split_stem(model)[1] is model
