"""Frozen dataclasses that check their own fields: bad input is refused at construction, in one line."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Interval

# Types of fields that are numbers in a range; None is allowed where a field says so.
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Count = Annotated[int, Interval(ge=1)]
Natural = Annotated[int, Interval(ge=0)]
_LARGEST = 2**53
"""Whole numbers have to be below it: nothing is so many."""
_LONGEST = 200
"""Characters of a value that a message shows."""


class InputError(ValueError):
    """Bad input, found before any work started; the command line prints it and exits with `code`."""

    code: ClassVar[int] = 2

    def __init__(self, field: str, value: object, allowed: str) -> None:
        """Name the `field`, the offending `value` and, as the end of a sentence, what is `allowed`."""
        super().__init__(one_line(f"{field} = {_shortened(repr(value))} is not usable: {allowed}"))
        self.field = field
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Survive the trip from a worker process (the default pickling would drop two arguments)."""
        return (type(self), (self.field, self.value, self.allowed))


def one_line(text: str) -> str:
    """Return a text in which nothing breaks a line or steers a terminal: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


class MissingDataError(InputError):
    """A data set is not in the data folder; the message says in one line how to get it."""


class RecordError(InputError):
    """A stored record cannot be believed: it was edited or damaged, or it is no such record."""

    code = 1


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names the cell, the error and the partial output."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise `InputError` naming the field, the value and what is allowed, unless `condition` holds."""
    if not condition:
        raise InputError(name, value, allowed)


def near(given: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return what to add to a refusal: the known word that is likely meant, nothing where none is similar enough."""
    words = {word.casefold(): word for word in known}
    found = difflib.get_close_matches(str(given).casefold(), words, 1, cutoff)
    return f"; did you mean `{words[found[0]]}`?" if found else ""


def require_known(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` for one of the values `given` for a parameter that is not known."""
    for value in given:
        require(value in known, name, value, f"choose one of {', '.join(known)}{near(value, known)}")


def is_named(name: str) -> bool:
    """Tell whether a name is that of a function of the user's own: `module:function`, `folder/file.py:function`."""
    place, colon, function = name.rpartition(":")
    return bool(colon and place) and function.isidentifier()


class Kind(NamedTuple):
    """What a field may hold: its type, with the range of a number, and the test of a value."""

    hint: Any
    accepts: Callable[[Any], bool]


_KINDS: dict[Any, dict[str, Kind]] = {}


def kinds_of(cls: Any) -> dict[str, Kind]:
    """Return field -> what it may hold, of a dataclass."""
    if cls not in _KINDS:  # resolving annotations is slow, and every config that is made asks for them
        hints = typing.get_type_hints(cls, include_extras=True)
        _KINDS[cls] = kinds(**{f.name: hints[f.name] for f in dataclasses.fields(cls)})
    return _KINDS[cls]


def kinds(**hints: Any) -> dict[str, Kind]:
    """Return name -> what it may hold, of the types given."""
    return {name: Kind(hint, accepts(hint)) for name, hint in hints.items()}


def check(values: Mapping[str, Any], known: Mapping[str, Kind], where: str = "") -> None:
    """Raise `InputError` for a value that is missing or not of its kind; `where` comes before its name."""
    for name, kind in known.items():
        if name not in values or not kind.accepts(values[name]):
            value = values.get(name)
            smaller = f", below {_LARGEST:,}" if _is_vast(value) else ""
            choices = [part for part in get_args(kind.hint) if isinstance(part, str)]  # of a Literal
            raise InputError(where + name, value, f"give {describe(kind.hint)}{smaller}{near(value, choices)}")


def _is_vast(value: object) -> bool:
    return isinstance(value, int) and abs(value) >= _LARGEST


def accepts(hint: Any) -> Callable[[Any], bool]:
    """Return the test whether a value is of a type: a class, a choice, a number in a range, or values of such types."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: value in parts
    if origin is Annotated:
        return _number(parts[0], parts[1])
    if hint in (int, float):
        return _number(hint, Interval())
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
    if origin is dict:
        return lambda value: isinstance(value, dict) and all(map(tests[1], value.values()))
    return lambda value: hint is Any or isinstance(value, hint)


def _number(kind: Any, bounds: Any) -> Callable[[Any], bool]:
    """Return the test whether a value is a number of a kind in an interval."""
    low = -math.inf if bounds.ge is None else bounds.ge
    high = math.inf if bounds.le is None else bounds.le
    # An open end is the closed one a float further in.
    low = low if bounds.gt is None else math.nextafter(bounds.gt, math.inf)
    high = high if bounds.lt is None else math.nextafter(bounds.lt, -math.inf)
    if kind is int:
        low, high = max(low, 1 - _LARGEST), min(high, _LARGEST - 1)
    return lambda value: isinstance(value, kind) and low <= value <= high and not isinstance(value, bool)


def describe(hint: Any) -> str:
    """Say in words what a type allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is Annotated:
        return f"{describe(parts[0])} {_range(parts[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, parts))
    if origin is tuple and Ellipsis not in parts:
        return f"({', '.join(map(describe, parts))})"
    if origin in (tuple, list):
        return f"a list, each part {describe(parts[0])}"
    if origin is dict:
        return f"names, each with {describe(parts[1])}"
    return {
        "NoneType": "none",
        "Any": "a value",
        "bool": "true or false",
        "str": "a word",
        "int": "a whole number",
        "float": "a number",
        "MethodConfig": "the name of a method",
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
        known = kinds_of(type(self))
        for name, value in list(vars(self).items()):
            if isinstance(value, float):
                require(math.isfinite(value), name, value, "give a finite number, or none")
                object.__setattr__(self, name, value + 0.0)  # -0.0 is 0.0: what is equal has one hash
            elif type(value) is int and not known[name].accepts(value) and not _is_vast(value):
                number = float(value)
                object.__setattr__(self, name, number if known[name].accepts(number) else value)
        check(vars(self), known)
        self.validate()

    def validate(self) -> None:
        """Check combinations of fields; dataclasses override this and raise `InputError`."""

    def unread(self, when: bool, why: str, *names: str) -> None:
        """Raise `InputError` if a field of `names` is set although nothing reads it (`when` is true).

        Its run would have a hash of its own but the numbers of another run.
        """
        for f in dataclasses.fields(self) if when else ():  # type: ignore[arg-type]
            if f.name in names:
                value, left = getattr(self, f.name), "out" if f.default is None else f"at {f.default}"
                require(value == f.default, f.name, value, f"{why}; leave it {left}")


def require_jobs(jobs: int | None) -> None:
    """Raise `InputError` for a number of processes that no machine has; none given = as many as there are cores."""
    words = "give 1 to 1,000 processes; a notebook takes 0 for one a core"
    require(jobs is None or 1 <= jobs <= 1000, "jobs", jobs, words)
