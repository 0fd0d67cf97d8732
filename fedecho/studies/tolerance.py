"""How far apart the numbers of the same run lie under other instructions or more threads: measured, kind by kind.

On one kind of machine a run gives the same bytes. Where the processor adds in another order every sum differs in its
last bits, and training carries that on: some methods forget it, others do not. What each may be granted is not guessed
here but measured (`measure`) on committed runs, and kept with its provenance in `paper/tolerances.json`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedecho.core import files, provenance
from fedecho.core.checks import NotNegative, check, kinds, require
from fedecho.core.records import RUNS, Record
from fedecho.core.store import Store
from fedecho.learning import experiment
from fedecho.theory import engine
from fedecho.theory.records import THEORY, TheoryRecord

FACTOR = 3.0
"""How many times the largest measured distance is granted: it is the largest of few runs."""
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


# Measuring

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}  # fmt: skip
"""What keeps torch, its libraries and numpy from more than AVX2."""
VARIANTS: dict[str, tuple[Mapping[str, str], int]] = {
    "AVX512, 1 thread": ({}, 1), "AVX512, 2 threads": ({}, 2), "AVX2, 1 thread": (AVX2, 1),
    "AVX2, 2 threads": (AVX2, 2),
}  # fmt: skip


def measure(stored: Sequence[Path], variants: Sequence[str] = tuple(VARIANTS)) -> Iterator[str]:
    """Make committed runs again under each of the `variants`, write to `paper/tolerances.json` how far any two records
    of the same run are apart, and yield a line for each run; kinds measured before and not now stay.

    Raises `InputError` where this machine has no AVX512 to compare with.
    """
    here = torch.backends.cpu.get_cpu_capability()
    require(here == "AVX512", "cpu_capability", here, "measure on a processor with AVX512, and set no limit")
    for path in stored:
        first = load(path)
        kind, made = kind_of(first), [_made_again(path, *VARIANTS[name]) for name in variants]
        pairs = [distances(a, b) for place, a in enumerate([first, *made]) for b in made[place:]]
        last = committed()
        seen = reduce(_larger, pairs, _known(last.kinds.get(kind, {})))
        seen.pop(WRITTEN, None)
        runs = [*last.runs.get(kind, ()), f"{first.hash}: {'; '.join(variants)}"]
        found = {name: value if math.isfinite(value) else None for name, value in seen.items() if value}
        new = Tolerances(
            provenance.collect("cpu"),
            dict(sorted({**last.kinds, kind: {name: _rounded_up(v) for name, v in found.items()}}.items())),
            dict(sorted({**last.runs, kind: sorted(set(runs))}.items())),
        )
        STORE.save(new, STORE.path(files.paper(), "tolerances"))
        yield f"{kind}: {words(found) or 'the same bytes'} ({first.hash})"


def words(found: Mapping[str, float | None]) -> str:
    """Name the columns with the largest distances, the largest first."""
    worst = sorted(found, key=lambda name: -(math.inf if found[name] is None else found[name] or 0.0))
    return ", ".join(f"{name} {'otherwise' if found[name] is None else format(found[name], '.2g')}" for name in worst)


def _known(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.inf if value is None else value for name, value in found.items()}


def _larger(one: dict[str, float], two: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), two.get(name, 0.0)) for name in {**one, **two}}


def _rounded_up(value: float | None) -> float | None:
    """Round to two digits, never down."""
    if not value:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.1e}")


def load(path: Path) -> Recorded:
    """Read a record of either kind; those of the theory lie in folders of that name."""
    store: Store[Any, Any] = THEORY if path.parent.name == "theory" else RUNS
    found: Recorded = store.load(path)
    return found


def _made_again(stored: Path, limits: Mapping[str, str], threads: int) -> Recorded:
    """Make a record again in a process of its own: what limits its instructions is read as it starts."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / stored.parent.name / stored.name
        code = f"from fedecho.studies.tolerance import again; again({str(stored)!r}, {threads}, {str(out)!r})"
        quiet = ["-W", "ignore"]  # numpy warns of each feature that this processor lacks anyway
        subprocess.run([sys.executable, *quiet, "-c", code], env={**os.environ, **limits}, check=True)
        return load(out)


def again(stored: str, threads: int, out: str) -> None:
    """Make the record in a file again, with so many threads, into the file `out`; outside of `measure` all runs have
    one thread, whatever torch is told."""
    record = load(Path(stored))
    torch.set_num_threads(threads)
    if isinstance(record, Record):
        RUNS.save(_unbound(experiment.run)(record.run_config()), Path(out))
    else:
        THEORY.save(_unbound(engine.execute)(record.run()), Path(out))


def _unbound(run: Any) -> Any:
    """Return what `experiment.one_thread` decorates."""
    return run.__wrapped__


def one_of_each(paths: Iterable[Path], seed: int = 0) -> list[Path]:
    """Return a record of each kind among files of records, drawn at random, of runs that came to their end."""
    chosen: dict[str, Path] = {}
    ordered = sorted(paths)
    for place in np.random.default_rng(seed).permutation(len(ordered)):
        record = load(ordered[place])
        if not isinstance(record, Record) or record.status == "done":
            chosen.setdefault(kind_of(record), ordered[place])
    return [chosen[name] for name in sorted(chosen)]
