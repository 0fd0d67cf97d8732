"""The models: a small strided CNN, a ResNet of eight layers for a CPU, and the CIFAR ResNet-18 of the paper's
protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedecho.core import own
from fedecho.core.checks import is_named, require
from fedecho.core.config import LORA
from fedecho.core.rng import torch_seed
from fedecho.core.settings import TaskKind
from fedecho.learning.models import pretrained
from fedecho.learning.models.texts import TEXT_MODELS


def cnn(
    shape: tuple[int, int, int], classes: int, width: int = 1, norm: Callable[[int], nn.Module] = nn.Identity
) -> nn.Module:
    """Return the small CNN for images `[batch, *shape]`: 10,362 parameters at 1x28x28 and 10 classes, no norm layers.

    The stem trades resolution for channels (space-to-depth by 2), so that the first convolution works on 14x14.
    `width` multiplies the channels of both convolutions; `norm` makes the layer after each of them, by its channels:
    with BatchNorm it is the smallest model whose buffers must travel.
    """
    channels, height, size = shape
    first, second = 16 * width, 32 * width
    # Two stride-2 convolutions with padding 1 each halve the size, rounding up.
    out_height, out_width = (-(-height // 2) + 3) // 4, (-(-size // 2) + 3) // 4
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(4 * channels, first, 3, stride=2, padding=1), norm(first), nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1), norm(second), nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * out_height * out_width, classes),
    )  # fmt: skip


def resnet18(
    shape: tuple[int, int, int], classes: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d, fan_out: bool = False
) -> nn.Module:
    """Return torchvision's ResNet-18 with the CIFAR stem (3x3, stride 1, no pooling) and BatchNorm, or another `norm`.

    11,173,962 parameters at 10 classes, the size of the model in the official FADAS code. GroupNorm (32 groups) is the
    control without travelling statistics.

    Like the official model it starts from torch's default: the kernels' squared norm is 1,600. Departure, an option:
    `fan_out`, torchvision's own start (Kaiming), at 7,701. Under BatchNorm only a kernel's direction matters, and the
    rate at which that turns goes with eta_l / norm^2: the two starts differ as several-fold rates do.
    """
    from fedecho.data.torchvision_compat import torchvision

    model: nn.Module = torchvision().models.resnet18(num_classes=classes, norm_layer=norm)
    model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and not fan_out:
            module.reset_parameters()
    return model


class Block(nn.Module):
    """Two convolutions 3x3 with their norms, added to what came in, by way of a convolution 1x1 if the sizes differ."""

    def __init__(self, inner: int, outer: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        """Make them, from `inner` to `outer` channels; `stride` is that of the first."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False), norm(outer), nn.ReLU(),
            nn.Conv2d(outer, outer, 3, padding=1, bias=False), norm(outer),
        )  # fmt: skip
        beside = [nn.Conv2d(inner, outer, 1, stride=stride, bias=False), norm(outer)]
        self.beside = nn.Identity() if (inner, stride) == (outer, 1) else nn.Sequential(*beside)

    def forward(self, images: Tensor) -> Tensor:
        """Return `[batch, outer, height / stride, width / stride]`."""
        return F.relu(self.body(images) + self.beside(images))


def resnet8(shape: tuple[int, int, int], classes: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Return a ResNet of eight layers for images `[batch, *shape]` on a CPU: 79,338 parameters at 3x32x32 and 10
    classes.

    The stem trades resolution for channels, as in `cnn`; then a convolution, a residual block each at 16, 32 and 64
    channels (16x16, 8x8, 4x4), and the mean over places. GroupNorm (8 groups) is the control without travelling
    statistics.
    """
    widths = (16, 32, 64)
    blocks = [
        Block(inner, outer, 1 + (inner < outer), norm) for inner, outer in zip((16, *widths), widths, strict=False)
    ]
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(4 * shape[0], 16, 3, padding=1, bias=False), norm(16), nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip


def split_stem(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return what a model does first without any parameters, and the rest of it.

    A fixed rearrangement of pixels can be done once per data set instead of once per batch, to the same last bit.
    """
    if isinstance(module, nn.Sequential) and isinstance(module[0], nn.PixelUnshuffle):
        return module[0], module[1:]
    return nn.Identity(), module


MODELS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "cnn": cnn,
    **{f"cnn-w{width}": partial(cnn, width=width) for width in (2, 4, 8)},
    "cnn-batchnorm": partial(cnn, norm=nn.BatchNorm2d),
    "resnet8": resnet8,
    "resnet8-groupnorm": partial(resnet8, norm=partial(nn.GroupNorm, 8)),
    "resnet18": resnet18,
    "resnet18-fan-out": partial(resnet18, fan_out=True),
    "resnet18-groupnorm": partial(resnet18, norm=partial(nn.GroupNorm, 32)),
}


def build(name: str, shape: tuple[int, ...], classes: int, seed: int, task: TaskKind = "classification") -> nn.Module:
    """Return the model `name` for images `[channels, height, width]` or for texts (vocabulary, context).

    A pretrained encoder `lora:...` brings its own vocabulary and context. What is not pretrained is initialised from
    the stream of `seed`, and the global generator of torch is left as it was. Raises `InputError` for a name that is
    unknown, reads something else or learns another task.
    """
    classifies = len(shape) == 2 and task == "classification"
    if classifies and name.startswith(LORA):
        return pretrained.build(name, classes, seed)
    known: dict[str, Any] = TEXT_MODELS[task] if len(shape) == 2 else MODELS
    if is_named(name) and not name.startswith(LORA):
        return _own(name, shape, classes, seed)
    choices = [*known, *([f"{LORA}<folder or name on the hub>"] if classifies else [])]
    require(name in known, "model", name, f"choose one of {', '.join(choices)}, or module:function of your own")
    return _initialised(known[name], shape, classes, seed)


def _initialised(factory: Callable[..., nn.Module], shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "initial-weights"))
        return factory(shape, classes)


def _own(name: str, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Return what a function of the user's makes; raises `InputError` for what gives no logits `[batch, classes]`."""
    inputs = torch.zeros((2, *shape)) if len(shape) == 3 else torch.zeros((2, shape[-1]), dtype=torch.long)
    with own.blamed("model", name, f"for inputs {list(inputs.shape)} it fails", most=200):
        module = _initialised(own.function(name, "model"), shape, classes, seed)
        require(isinstance(module, nn.Module), "model", name, "it has to make a torch.nn.Module")
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        require(bool(trained), "model", name, "it makes a module without parameters to train")
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = module.eval()(inputs)
    found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    words = f"for inputs {list(inputs.shape)} it has to give logits [2, {classes}], not {found}"
    require(found == [2, classes], "model", name, words)
    return module.train()
