"""Changes of a run's config by dotted fields, whose refusals name the path that the user would write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedecho.core.checks import InputError, near
from fedecho.core.config import RunConfig, override_all


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return `config` with all the dotted fields set at once; raises `InputError` as `dotted` says."""
    with dotted(config, changes):
        return override_all(config, changes)


@contextmanager
def dotted(config: RunConfig, changes: Mapping[str, Any]) -> Iterator[None]:
    """Give the dotted path of its field to an `InputError` that is raised inside, where it is known."""
    try:
        yield
    except InputError as error:
        before = dict(_values(config, ""))
        path = _path(error, {**before, **changes}, changes)
        words = "" if path in before else _meant(path, before)
        words = words if path in changes else _beside(path, changes)
        raise type(error)(path, error.value, error.allowed + words) from None


def _values(part: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every dotted field of a config, with its value."""
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        yield prefix + f.name, value
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{f.name}.")


def _path(error: InputError, values: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Return the one path that ends in the field of an error and has its value, or ends so, or does and is changed;
    else the one change to this value whose path contains the name, as `data.name` does `data`; else the name alone."""
    fields = [path for path, value in values.items() if not dataclasses.is_dataclass(value)]
    alike = [path for path in fields if path.rpartition(".")[2] == error.field]
    same = {path for path, value in values.items() if repr(value) == repr(error.value)}
    inside = [path for path in changes if path in same and error.field in path]
    ways = (same & {*alike}, alike, changes.keys() & {*alike}, inside)
    return next((path for way in ways if len(way) == 1 for path in way), error.field)


def _meant(path: str, known: Mapping[str, Any]) -> str:
    """Return which field is likely meant by a path that there is not: of those that end like it the most similar."""
    parts = path.count(".") + 1
    ends = {each: ".".join(each.split(".")[-parts:]) for each in known}
    return near(path, [each for each, end in ends.items() if near(path, [end], 0.75)], 0)


def _beside(path: str, changes: Mapping[str, Any]) -> str:
    """Return which changes led to the refusal of a field that nobody set."""
    part = path.rpartition(".")[0]
    others = [each for each in changes if part and each.rpartition(".")[0] == part]
    return f"; you set {', '.join(others)}" if others else ""
