"""Running out of memory, said in one line with what can be done about it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig
from fedecho.learning.methods import FedEcho

P = ParamSpec("P")
T = TypeVar("T")
_SAID = ("can't allocate memory", "not enough memory", "out of memory")
"""How torch words it where it raises a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a GPU or in the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def levers(config: RunConfig) -> str:
    """Name the settings that take most memory, with their present values, and what to do with them."""
    words = [f"|U|: data.pool_size, now {config.data.pool_size}"]
    words += [f"inference batch: execution.inference_batch, now {config.execution.inference_batch}"]
    if isinstance(config.method, FedEcho):
        kept = config.method.distill.bank_dtype
        words += [f"bank dtype: method.distill.bank_dtype, now {kept}" + ("" if kept == "float16" else "; try float16")]
        if config.method.distill.bank_top_k is None and config.method.distill.bank_labels is None:
            words += ["rows: method.distill.bank_top_k or bank_labels, now all classes are kept"]
    return f"it ran out; lower one of ({', or '.join(words)}), or run fewer at a time with --jobs"


def explained(run: Callable[Concatenate[RunConfig, P], T]) -> Callable[Concatenate[RunConfig, P], T]:
    """Let a function of a config raise `InputError` with the levers where memory runs out."""

    @functools.wraps(run)
    def inner(config: RunConfig, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return run(config, *args, **kwargs)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise InputError("memory", kwargs.get("device", "cpu"), levers(config)) from None

    return inner
