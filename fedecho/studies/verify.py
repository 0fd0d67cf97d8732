"""Recompute records and compare: the same bytes on the machine that made them, nearly the same accuracy elsewhere."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fedecho.core import own, records
from fedecho.core.checks import require
from fedecho.core.config import LORA
from fedecho.core.records import Record
from fedecho.studies.sweep import sweep
from fedecho.theory import engine
from fedecho.theory.records import THEORY, TheoryRecord, array

T = TypeVar("T")
TOLERANCE = 0.02
"""Largest difference of scores that other hardware or versions are granted; accuracies in [0, 1]."""


@dataclass(frozen=True)
class Outcome:
    """How one record compares with its recomputation."""

    name: str
    identical: bool
    difference: float
    """Between the two scores; 0 where both diverged, infinite where one did or schedule, shards or data differ."""
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Tell whether the record stands."""
        return self.identical or self.difference <= self.tolerance

    def __str__(self) -> str:
        """Say it in a line."""
        if self.identical:
            return f"{self.name}: rows and facts are byte-equal"
        verdict = "within" if self.ok else "BEYOND"
        tolerance = f"the tolerance {self.tolerance}"
        return f"{self.name}: rows differ; scores differ by {self.difference:.4f}, {verdict} {tolerance}"


THEORY_TOLERANCE = 0.01
"""Largest relative difference of a mean over the trajectories that other hardware or versions are granted."""


def verify(
    folder: Path, sample: int, seed: int | None = None, jobs: int | None = None, named: Collection[str] = ()
) -> list[Outcome]:
    """Recompute `sample` records of `folder`, drawn at random (repeatably with a `seed`), and compare.

    Functions of a user's own are imported only if they are among the `named` ones: a record may come from anywhere.
    """
    chosen = _drawn(partial(records.all_in, folder), folder, sample, seed)
    for config in (record.run_config() for record in chosen):
        for function in filter(None, (config.model, config.delays.function)):
            known = not own.is_named(function) or function.startswith(LORA) or function in named
            require(known, "plugin", function, "a record names this code of a user's own; to have it run, name it too")
    with tempfile.TemporaryDirectory() as name:
        again, configs = Path(name), [record.run_config() for record in chosen]
        sweep(configs, again, jobs=jobs)
        made = [records.load(records.record_path(again, config)) for config in configs]
    return [compare(*pair) for pair in zip(chosen, made, strict=True)]


def verify_theory(folder: Path, sample: int, seed: int | None = None) -> list[Outcome]:
    """Simulate again `sample` theory records of `folder`, drawn at random (repeatably with a `seed`), and compare."""
    paths = _drawn(lambda: sorted(folder.glob("*.json")), folder, sample, seed)
    return [compare_theory(THEORY.load(path)) for path in paths]


def _drawn(read: Callable[[], Iterable[T]], folder: Path, sample: int, seed: int | None) -> list[T]:
    require(sample >= 1, "sample", sample, "give at least 1 record")
    require(seed is None or seed >= 0, "seed", seed, "give a whole number >= 0")
    found = list(read())
    require(len(found) >= sample, "sample", sample, f"{folder.name} has {len(found)} records")
    return [found[index] for index in np.random.default_rng(seed).choice(len(found), sample, replace=False)]


def compare_theory(stored: TheoryRecord) -> Outcome:
    """Simulate a theory record again and compare; the difference is relative, the largest of all means and facts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", engine.StabilityWarning)  # it was given when the record was made
        again = engine.execute(stored.run())
    name = f"theory, {stored.run().objective}-{stored.hash}"
    identical = json.dumps([stored.rows, stored.facts]) == json.dumps([again.rows, again.facts])
    return Outcome(name, identical, 0.0 if identical else _distance(stored, again), THEORY_TOLERANCE)


def _distance(one: TheoryRecord, two: TheoryRecord) -> float:
    """Return the largest relative difference of two records' numbers; infinite where they differ in anything else."""
    facts = [np.array(_leaves(record.facts), dtype=float) for record in (one, two)]
    pairs = [facts, *([array(r, name).mean(1) for r in (one, two)] for name in ("mean", "late", "least"))]
    fixed = [[(row["rounds"], row["buffer"], row["status"], row["tau_max"]) for row in r.rows] for r in (one, two)]
    alike = fixed[0] == fixed[1] and all(a.shape == b.shape for a, b in pairs)
    if not alike or any(not np.array_equal(np.isnan(a), np.isnan(b)) for a, b in pairs):
        return float("inf")
    gaps = [np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), _TINY) for a, b in pairs]
    return max(float(np.nanmax(gap, initial=0.0)) for gap in gaps)


_TINY = 1e-20
"""What is smaller is what rounding leaves."""


def _leaves(facts: Mapping[str, Any]) -> list[float | None]:
    """Return the numbers inside facts, in order."""
    out: list[float | None] = []
    for value in facts.values():
        nested = _leaves(value) if isinstance(value, dict) else value
        out += nested if isinstance(nested, list) else [nested]
    return out


def compare(stored: Record, recomputed: Record) -> Outcome:
    """Compare a record with its recomputation; InputError where their vocabularies are not the same."""
    records.require_same_vocabulary(stored.facts, recomputed.facts, f"record {stored.hash}")
    name = f"{stored.config['method']['method']}-{stored.hash} (seed {stored.seed})"
    one, two = (json.dumps([record.status, record.rows, record.facts]) for record in (stored, recomputed))
    same_facts = _without_samples(stored) == _without_samples(recomputed)
    gap = _difference(stored.score, recomputed.score) if same_facts else float("inf")
    return Outcome(name, one == two, gap)


def _without_samples(record: Record) -> str:
    """Return the facts but what the model wrote: one word drawn otherwise, and the rest of a text is another."""
    return json.dumps({name: fact for name, fact in record.facts.items() if name != "samples"})


def _difference(one: float | None, two: float | None) -> float:
    if one is None or two is None:
        return 0.0 if one is two else float("inf")
    return abs(one - two)
