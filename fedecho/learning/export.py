"""The weights of a trained model by name, and the file that they are saved in."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from torch import Tensor

from fedecho.core.checks import require
from fedecho.core.files import whole
from fedecho.core.records import Record
from fedecho.learning.flat import FlatModel, Weights

SUFFIX = ".safetensors"


def by_name(model: FlatModel, weights: Weights) -> dict[str, Tensor]:
    """Return what a version consists of, each tensor in its own shape, by its name in `module.state_dict()`.

    Of a pretrained encoder with adapters only those are trained, and here.
    """
    model.load(weights)
    frozen = {name for name, parameter in model.module.named_parameters() if not parameter.requires_grad}
    state = model.module.state_dict()
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items() if name not in frozen}


def require_writable(path: Path) -> None:
    """Raise `InputError` unless weights can be written to a file, before anything is trained for it."""
    require(path.suffix == SUFFIX, "save_model", str(path), f"give a file that ends in {SUFFIX}")
    folder = path.resolve().parent
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    require(writable, "save_model", str(path), "its folder must be there, and one that can be written to")
    require(not path.is_dir(), "save_model", str(path), "it is a folder; name a file")
    found = importlib.util.find_spec("safetensors") is not None
    require(found, "save_model", str(path), "install fedecho[weights] (the package safetensors) first")


def save(record: Record, path: Path) -> None:
    """Write the weights that `run(config, keep_model=True)` left with its record, and what they are, to a file.

    `safetensors.torch.load_file(path)` reads them. Raises `InputError` where there are none, or no way to write them.
    """
    require_writable(path)
    require(record.model is not None, "model", None, "only run(config, keep_model=True) leaves weights with its record")
    from safetensors.torch import save_file

    said = {"record": record.hash, "config": json.dumps(record.config, sort_keys=True), "status": record.status}
    with whole(path) as partial:
        save_file(dict(record.model or {}), partial, {"format": "pt", **said})
