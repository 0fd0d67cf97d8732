"""What to lower where memory runs out all the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig

R = TypeVar("R", bound=Callable[..., Any])


def with_memory_advice(run: R) -> R:
    """Wrap `run` so that running out of memory raises an `InputError` that names the settings using the most memory."""

    @functools.wraps(run)
    def inner(config: RunConfig, *rest: Any, **options: Any) -> Any:
        try:
            return run(config, *rest, **options)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError("memory", options.get("device", "cpu"), memory_advice(config)) from None

    return cast(R, inner)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a GPU or in the machine."""
    phrases = ("can't allocate memory", "not enough memory", "out of memory")  # torch's
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in phrases)


def memory_advice(config: RunConfig) -> str:
    """Name the settings that take most memory, with their present values, and what to do with them."""
    words = [f"|U|: data.pool_size, now {config.data.pool_size}"]
    words += [f"inference batch: execution.inference_batch, now {config.execution.inference_batch}"]
    if config.distill is not None:
        kept = config.distill.bank_dtype
        words += [f"bank dtype: method.distill.bank_dtype, now {kept}" + ("" if kept == "float16" else "; try float16")]
        if config.distill.bank_top_k is None and config.distill.bank_labels is None:
            words += ["rows: method.distill.bank_top_k or bank_labels, now all classes are kept"]
    return f"it ran out; lower one of ({', or '.join(words)}), or run fewer at a time with --jobs"
