"""What a config names that is not ours, pinned by its content: encoders, models, data, traces and functions."""

from __future__ import annotations

from dataclasses import replace

from fedecho.core import own
from fedecho.core.checks import is_named, require
from fedecho.core.config import RunConfig
from fedecho.core.files import expanded, file_sha256, is_file
from fedecho.learning.models import pretrained
from fedecho.simulation.delays import pin_trace


def pin(config: RunConfig) -> RunConfig:
    """Return `config` with the digests of all files that it names filled in.

    Raises `InputError` for one that is not there, or that is not what the config was pinned to.
    """
    config = replace(pretrained.pin(config), delays=pin_trace(config.delays, config.protocol.clients))
    if is_named(config.model):
        found = own.digest(config.model, "model")
        _require_same("model", config.model, found, config.model_sha256)
        config = replace(config, model_sha256=found)
    if config.delays.function is not None:
        found = own.digest(config.delays.function, "delays.function")
        _require_same("delays.function", config.delays.function, found, config.delays.function_sha256)
        config = replace(config, delays=replace(config.delays, function_sha256=found))
    if config.data.is_file:
        path = expanded(config.data.name, "data")
        require(is_file(path), "data", config.data.name, "no such file; give an .npz with x, y and, if you like, pool")
        found = file_sha256(path)
        _require_same("data", config.data.name, found, config.data.sha256)
        config = replace(config, data=replace(config.data, name=str(path), sha256=found))
    return config


def _require_same(field: str, name: str, found: str, wanted: str | None) -> None:
    require(wanted in (None, found), field, name, f"its file is not that of this run ({wanted})")
