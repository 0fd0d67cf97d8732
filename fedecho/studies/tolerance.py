"""How far apart the numbers of the same run lie under other instructions or more threads: measured, kind by kind.

On one kind of machine a run gives the same bytes. Where the processor adds in another order every sum differs in its
last bits, and training carries that on: some methods forget it, others do not. What each may be granted is not guessed
here but measured (`remake.py`) on committed runs, and kept with its provenance in `paper/tolerances.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import NotNegative, check, kinds, require
from fedecho.core.records import RUNS, Record
from fedecho.core.store import Store
from fedecho.theory.records import THEORY, TheoryRecord

FACTOR = 3.0
"""How many times the largest measured distance is granted: it is the largest of few runs."""
CLOSE = 1e-3
"""The distance up to which two rows are said to agree."""
WRITTEN = "facts.samples"
"""What a model wrote, which is no number."""
_SMALLEST = {Record: 1.0, TheoryRecord: 1e-20}
"""Below this a difference counts as it is, above it relative to the numbers; what is smaller is what rounding leaves.
Trajectories of the theory fall by orders of magnitude, so that theirs are always relative."""
Recorded = Record | TheoryRecord


def kind_of(record: Recorded) -> str:
    """Name the kind of a run: its method, and what it trains or what is minimised."""
    if isinstance(record, Record):
        config = record.run_config()
        return f"{config.method.name}, {config.model}"
    run = record.run()
    return f"theory: {run.method.name}, {run.objective}"


# How far apart two records are


def distances(one: Recorded, two: Recorded) -> dict[str, float]:
    """Return by column (status, those of the rows, the facts) the largest |a - b| / max(least, |a|, |b|) of its numbers
    a and b, `least` being 1 for training and next to nothing for theory; infinite where anything else differs."""
    least = _SMALLEST[type(one)]
    first, second = (dict(_columns(record)) for record in (one, two))
    return {name: _distance(first.get(name), second.get(name), least) for name in {**first, **second}}


def agreeing(one: Recorded, two: Recorded) -> int:
    """Return how many rows agree to `CLOSE` before the first that does not: runs that oscillate grow apart from their
    last bits, so that their ends say little of whether they are the same run, and their beginnings much."""
    gaps = (_distance(a, b, _SMALLEST[type(one)]) for a, b in zip(one.rows, two.rows, strict=False))
    return sum(1 for _ in takewhile(lambda gap: gap <= CLOSE, gaps))


def _columns(record: Recorded) -> Iterator[tuple[str, list[Any]]]:
    if isinstance(record, Record):
        yield "status", [record.status]
    for name in dict.fromkeys(name for row in record.rows for name in row):
        yield name, [row.get(name) for row in record.rows]
    for name, fact in record.facts.items():
        yield f"facts.{name}", [fact]


def _distance(one: Any, two: Any, least: float) -> float:
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return max((_distance(a, b, least) for a, b in zip(one, two, strict=True)), default=0.0)
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return max((_distance(one[name], two[name], least) for name in one), default=0.0)
    if type(one) is type(two) and one == two:
        return 0.0
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, two))
    return abs(one - two) / max(least, abs(one), abs(two)) if numbers else math.inf


# What else differs


def differing(made: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say what of the processor's features, the libraries and the threads is not as in a record's provenance: "made
    with AVX512, here AVX2"; nothing if all is, and then a run has to give the same bytes."""
    then, now = (dict(_features(about)) for about in (made, here))
    known = [name for name in then if name in now]  # older records say less
    return [f"made with {_said(name, then[name])}, here {_said(name, now[name])}" for name in known
            if then[name] != now[name]]  # fmt: skip


def _features(made: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    hardware = made.get("hardware") or {}
    yield from ((name, hardware.get(name)) for name in ("machine", "gpu", "limits"))
    # MKL chooses by maker, too: the same instructions of another one give other last bits.
    yield from ((name, hardware[name]) for name in ("cpu", "cpu_capability", "simd") if name in hardware)
    yield from ((name, version) for name, version in (made.get("versions") or {}).items() if name in _LIBRARIES)
    yield "threads", made.get("threads")


_LIBRARIES = ("torch", "numpy", "scipy")
"""Those that compute; the others read data, whose digest is among the facts."""


def _said(name: str, value: Any) -> str:
    if name == "threads":
        return f"{value} thread{'' if value == 1 else 's'}"
    return f"{name} {value or 'none'}" if name in (*_LIBRARIES, "gpu", "simd", "limits") else str(value)


# What is granted


@dataclass(frozen=True)
class Tolerances:
    """What was measured, and on what."""

    provenance: dict[str, Any]
    kinds: dict[str, dict[str, NotNegative | None]] = field(default_factory=dict)
    """Kind of run -> column -> the largest distance between two of the same run's records; no distance is left out,
    none = the runs came to another end."""
    runs: dict[str, list[str]] = field(default_factory=dict)
    """Kind of run -> hash of each run that was made again, and under what."""

    def allowed(self, kind: str) -> dict[str, float] | None:
        """Return by column how far a kind's numbers may be apart; none where the kind was not measured."""
        found = self.kinds.get(kind)
        return None if found is None else {name: FACTOR * (value or 0.0) for name, value in found.items()}


def _check(made: Tolerances) -> None:
    require(made.kinds.keys() == made.runs.keys(), "runs", sorted(made.runs), f"name {sorted(made.kinds)}")
    for name, hashes in made.runs.items():
        check({"runs": hashes}, kinds(runs=list[str]), f"{name}: ")


STORE: Store[str, Tolerances] = Store(
    Tolerances, name=lambda name: name, own_name=lambda made: "tolerances", check=_check
)


def committed() -> Tolerances:
    """Return the tolerances of `paper/tolerances.json`, nothing without it; raises `RecordError` for a bad one."""
    return STORE.find(files.paper(), "tolerances") or Tolerances({})


def words(found: Mapping[str, float | None]) -> str:
    """Name the columns with the largest distances, the largest first."""
    worst = sorted(found, key=lambda name: -(math.inf if found[name] is None else found[name] or 0.0))
    return ", ".join(f"{name} {'otherwise' if found[name] is None else format(found[name], '.2g')}" for name in worst)


def load(path: Path) -> Recorded:
    """Read a record of either kind; those of the theory lie in folders of that name."""
    store: Store[Any, Any] = THEORY if path.parent.name == "theory" else RUNS
    found: Recorded = store.load(path)
    return found
