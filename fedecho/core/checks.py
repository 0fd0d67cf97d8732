"""Frozen dataclasses that check their own fields: bad input is refused at construction, in one line."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Interval

# Types of fields that are numbers in a range; None is allowed where a field says so.
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Count = Annotated[int, Interval(ge=1)]
Natural = Annotated[int, Interval(ge=0)]


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
        return (type(self), (self.field, self.value, self.allowed))


class MissingDataError(InputError):
    """A data set is not in the data folder; the message says in one line how to get it."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise `InputError` naming the field, the value and what is allowed, unless `condition` holds."""
    if not condition:
        raise InputError(name, value, allowed)


_HINTS: dict[Any, dict[str, Any]] = {}


def field_hints(cls: Any) -> dict[str, Any]:
    """Return field -> type of a dataclass, with the range of a number."""
    if cls not in _HINTS:  # resolving annotations is slow, and every config that is made asks for them
        hints = typing.get_type_hints(cls, include_extras=True)
        _HINTS[cls] = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    return _HINTS[cls]


@functools.cache
def accepts(hint: Any) -> Callable[[Any], bool]:
    """Return the test whether a value is of a type: a class, a choice, a number in a range, or values of such types."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: value in parts
    if origin is Annotated:
        is_number, inside = accepts(parts[0]), _within(parts[1])
        return lambda value: is_number(value) and inside(value)
    tests = [accepts(part) for part in parts if part is not Ellipsis]
    if origin in (Union, types.UnionType):
        return lambda value: any(test(value) for test in tests)
    if origin is tuple and Ellipsis not in parts:
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(tests)
            and all(test(part) for test, part in zip(tests, value, strict=True))
        )
    if origin in (tuple, list):
        return lambda value: isinstance(value, origin) and all(map(tests[0], value))
    if hint in (int, float):
        return lambda value: isinstance(value, hint) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)


def _within(bounds: Interval) -> Callable[[Any], bool]:
    """Return the test whether a number lies in an interval."""
    above, low = (operator.ge, bounds.ge) if bounds.gt is None else (operator.gt, bounds.gt)
    below, high = (operator.le, bounds.le) if bounds.lt is None else (operator.lt, bounds.lt)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return lambda value: bool(above(value, low) and below(value, high))


def describe(hint: Any) -> str:
    """Say in words what a type allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is Annotated:
        return f"{describe(parts[0])} {_range(parts[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, parts))
    if origin is tuple:
        return f"({', '.join('...' if part is Ellipsis else describe(part) for part in parts)})"
    return {
        "NoneType": "none",
        "str": "a word",
        "int": "a whole number",
        "float": "a number",
        "MethodConfig": "a method's settings",
    }.get(getattr(hint, "__name__", ""), str(hint))


def _range(bounds: Interval) -> str:
    """Write an interval: "> 0", ">= 1" or "in [0, 1)"."""
    if bounds.lt is None and bounds.le is None:
        return f">= {bounds.ge}" if bounds.gt is None else f"> {bounds.gt}"
    low = f"[{bounds.ge}" if bounds.gt is None else f"({bounds.gt}"
    return f"in {low}, {bounds.le}]" if bounds.lt is None else f"in {low}, {bounds.lt})"


class Checked:
    """A frozen dataclass whose fields are checked at construction (`1` is taken for `1.0`, `"1"` is refused)."""

    def __post_init__(self) -> None:
        """Check each field against its annotation; raise `InputError` otherwise."""
        for name, hint in field_hints(type(self)).items():
            value, allowed = getattr(self, name), accepts(hint)
            require(not isinstance(value, float) or math.isfinite(value), name, value, "give a finite number, or none")
            if type(value) is int and not allowed(value) and allowed(float(value)):
                object.__setattr__(self, name, float(value))
            elif not allowed(value):
                raise InputError(name, value, f"give {describe(hint)}")
        self.validate()

    def validate(self) -> None:
        """Check combinations of fields; dataclasses override this and raise `InputError`."""
