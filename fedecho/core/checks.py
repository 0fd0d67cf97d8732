"""Frozen dataclasses that check their own fields: bad input is refused at construction, in one line."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin


class InputError(ValueError):
    """Bad input, found before any work started; the command line prints it and exits with code 2."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        """Name the `field`, the offending `value` and, as the end of a sentence, what is `allowed`."""
        super().__init__(f"{field} = {value!r} is not usable: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Survive the trip from a worker process (the default pickling would drop two arguments)."""
        return (InputError, (self.field, self.value, self.allowed))


class MissingDataError(InputError):
    """A data set is not in the data folder; the message says in one line how to get it."""

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """See `InputError.__reduce__`."""
        return (MissingDataError, (self.field, self.value, self.allowed))


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise `InputError` naming the field, the value and what is allowed, unless `condition` holds."""
    if not condition:
        raise InputError(name, value, allowed)


_HINTS: dict[Any, dict[str, Any]] = {}


def field_hints(cls: Any) -> dict[str, Any]:
    """Return field -> type of a dataclass."""
    if cls not in _HINTS:  # resolving annotations is slow, and every config that is made asks for them
        hints = typing.get_type_hints(cls)
        _HINTS[cls] = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    return _HINTS[cls]


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        hints = get_args(hint)
        hints = hints[:1] * len(value) if isinstance(value, tuple) and hints[-1] is Ellipsis else hints
        return isinstance(value, tuple) and all(_fits(v, h) for v, h in zip(value, hints, strict=False))
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    return {
        "NoneType": "none",
        "str": "a word",
        "int": "a whole number",
        "float": "a number",
        "MethodConfig": "a method's settings",
    }.get(getattr(hint, "__name__", ""), str(hint))


class Checked:
    """A frozen dataclass whose field types are checked at construction (`1` is taken for `1.0`, `"1"` is refused)."""

    def __post_init__(self) -> None:
        """Check each field against its annotation; raise `InputError` otherwise."""
        for name, hint in field_hints(type(self)).items():
            value = getattr(self, name)
            if type(value) is int and not _fits(value, hint) and _fits(float(value), hint):
                object.__setattr__(self, name, float(value))
            require(_fits(getattr(self, name), hint), name, value, f"give {_describe(hint)}")
            require(not isinstance(value, float) or math.isfinite(value), name, value, "give a finite number, or none")
        self.validate()

    def validate(self) -> None:
        """Check ranges and combinations; dataclasses override this and raise `InputError`."""
