"""Tests claims on records: what the runs gave, Holm's correction over a family of claims, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedecho.core import stats
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.records import Record, find
from fedecho.report.captions import number, p_text
from fedecho.report.summary import Verdict, mean_of, percent, server_seconds, straggler_score
from fedecho.studies.claims import Claim, Term, questions, runs_of

LEVEL = 0.05
RULE = """\
Every line has two questions, each a two-sided paired t-test over the seeds: is the lead in the claimed direction \
different from 0, and is it different from the smallest lead of interest (1 point where nothing else is said)? \
**Supported**: the lead is above 0, p < 0.05. **Not supported**: the lead is below the smallest one of interest, p < \
0.05, so that one of that size or more is excluded (a lead the other way is a case of this); if both hold, the claim \
is supported by a small lead, and the note says so. **Inconclusive**: neither. **Not run**: a record is missing, and \
nothing is said before all are there. Both p-values are corrected by Holm's method over all lines of the same source \
(the paper's, this package's, or this package's on CIFAR-10, on language or on running text; what was asked of \
running text after the first results is a family of its own), which is stricter than the tables, where a family is \
one block; a line that is not run counts as p = 1, so that no support is lost when it is; lines that compare the \
same runs count once. Where the variant said to be better alone diverges on a seed, the line stays inconclusive. \
Leads are positive in the claimed direction; intervals are 95 %, of each line alone. Verdicts are about directions: \
sizes stand side by side and are not compared, since the paper's are for other data and models. Lines of theory are \
judged by the rules of the theory notebooks instead: intervals of 95 % each, not corrected for their number, and no \
p."""

_COLUMNS: dict[str, Callable[[Record], float]] = {
    "score": lambda record: percent(record.score),
    "straggler": straggler_score,
    "clipped": mean_of("clipped", 100),
}
"""Column -> how to read it off a record, in percent; nan = it has none."""
Key = frozenset[object]


@dataclass(frozen=True)
class Shelf:
    """The records of a profile."""

    name: str
    folder: Path
    beside: tuple[Path, ...] = ()
    """Those of the blocks that go with it."""

    def record(self, config: RunConfig) -> Record | None:
        """Return the record of a run, none without one; raises `InputError` for one that cannot be used."""
        found = (find(folder, config) for folder in (self.folder, *self.beside))
        return next((record for record in found if record is not None), None)

    def runs(self, claim: Claim, term: Term) -> dict[int, RunConfig]:
        """Return seed -> run of one term of a claim's test, over the seeds that all its terms have."""
        known = runs_of(str(claim.test.study), self.name)
        seeds = set.intersection(*(set(known[name, claim.setting, delay]) for _, name, delay in claim.terms))
        return {seed: run for seed, run in sorted(known[term[1], claim.setting, term[2]].items()) if seed in seeds}

    def values(self, claim: Claim, terms: Sequence[Term], column: str) -> dict[int, float]:
        """Return seed -> weighted sum over `terms`, over the seeds of which every run finished and has the column."""
        parts = [
            {seed: term[0] * self._value(run, column) for seed, run in self.runs(claim, term).items()} for term in terms
        ]
        sums = {seed: sum(part[seed] for part in parts) for seed in parts[0]}
        return {seed: value for seed, value in sums.items() if np.isfinite(value)}

    def _value(self, run: RunConfig, column: str) -> float:
        record = self.record(run)
        return np.nan if record is None or record.status == "diverged" else _COLUMNS[column](record)


@dataclass(frozen=True)
class Measured:
    """What the records say of a claim, before any correction."""

    verdict: Verdict | None
    """The verdict where it needs no test."""
    value: str | None
    note: str
    key: Key | None = None
    """Names the comparison, whatever it is called; none = it is no test."""
    lead: float = np.nan
    """In the claimed direction, above what has to be exceeded; in the column's unit."""
    small: float = 0.0
    """The smallest lead of interest."""
    p: float | None = None
    """Of the lead against 0."""
    p_small: float | None = None
    """Of the lead against the smallest one of interest."""


def measure(claim: Claim, shelf: Shelf) -> Measured:
    """Return what the records on the shelf say of a claim."""
    if claim.test.kind == "untested":
        return Measured("not run", None, "")
    if claim.test.kind == "theory":
        found = questions(shelf.name)[str(claim.test.a)].answer()
        return Measured(found.verdict, found.value, found.note)
    if claim.absent:
        return Measured("not run", None, f"the profile {shelf.name} has no such runs")
    key, (there, needed, diverged) = _key(claim, shelf), _counts(claim, shelf)
    if there < needed:
        return Measured("not run", None, f"{there} of {needed} runs are there", None if _free(claim) else key)
    note = f"{diverged} of {needed} runs diverged; their seeds are left out" if diverged else ""
    return _free_of_test(claim, shelf, note) if _free(claim) else _tested(claim, shelf, key, note)


def _free(claim: Claim) -> bool:
    return claim.test.kind in ("equal", "cost")


def _counts(claim: Claim, shelf: Shelf) -> tuple[int, int, int]:
    """Count the runs with a record, all that are needed, and those that diverged."""
    runs = {config_hash(run): run for term in claim.terms for run in shelf.runs(claim, term).values()}
    found = [record for run in runs.values() if (record := shelf.record(run)) is not None]
    return len(found), len(runs), sum(record.status == "diverged" for record in found)


def _key(claim: Claim, shelf: Shelf) -> Key:
    """Return the weight of every run in the lead: two claims with the same ones ask the same question."""
    weights: Counter[tuple[str, ...]] = Counter()
    for variant, sign in ((claim.test.a, _sign(claim)), (claim.test.b, -_sign(claim))):
        for term in claim.side(variant):
            weights[tuple(map(config_hash, shelf.runs(claim, term).values()))] += sign * int(term[0])
    test = claim.test
    return frozenset({*((runs, w) for runs, w in weights.items() if w), (test.column, test.limit, _bounds(claim))})


def _sign(claim: Claim) -> int:
    """Return -1 where less is better."""
    return -1 if claim.test.kind in ("gap", "shortfall", "below") else 1


def _bounds(claim: Claim) -> tuple[float, float]:
    """Return what the lead has to exceed, and how much beyond that is of interest."""
    match claim.test.kind:
        case "at_least":
            return -claim.test.margin, 0.0
        case "below":
            return 0.0, 0.0
    return 0.0, claim.test.margin


def _tested(claim: Claim, shelf: Shelf, key: Key, note: str) -> Measured:
    test, (floor, small) = claim.test, _bounds(claim)
    a = shelf.values(claim, claim.side(test.a), test.column)
    b = shelf.values(claim, claim.side(test.b), test.column) if test.b else dict.fromkeys(a, float(test.limit or 0))
    leads = {seed: _sign(claim) * (a[seed] - b[seed]) for seed in a.keys() & b.keys()}
    if not leads:
        return Measured("inconclusive", None, note or "no run has this column", key)
    beyond = {seed: lead - floor for seed, lead in sorted(leads.items())}
    lead, _, p, _ = stats.paired_difference(beyond, dict.fromkeys(beyond, 0.0))
    p_small = stats.paired_difference(beyond, dict.fromkeys(beyond, small)).p
    notes = [note, _beside(claim, shelf)]
    if b.keys() - a.keys():  # a seed that it alone fails must not help it
        notes.append(f"{test.a} alone diverged on one of them, so the others do not speak for it")
        return Measured("inconclusive", _value(claim, a, b, leads), "; ".join(filter(None, notes)), key, lead, small)
    return Measured(None, _value(claim, a, b, leads), "; ".join(filter(None, notes)), key, lead, small, p, p_small)


def _value(claim: Claim, a: Mapping[int, float], b: Mapping[int, float], leads: Mapping[int, float]) -> str:
    """Write the lead with its interval and the two means behind it; for a limit, the mean itself."""
    if claim.test.kind == "below":
        mean, half, n = stats.mean_ci(list(a.values()))
        return f"{number(mean, half)} % (n = {n})"
    lead, half, n = stats.mean_ci([leads[seed] for seed in sorted(leads)])
    means = [number(float(np.mean([side[seed] for seed in sorted(leads)])), np.nan) for side in (a, b)]
    return f"{number(lead, half, '+')} points ({means[0]} against {means[1]}, n = {n})"


def _beside(claim: Claim, shelf: Shelf) -> str:
    """Tell the column beside, and say so if it is 0 throughout."""
    if claim.test.beside is None:
        return ""
    mean = float(np.mean(list(shelf.values(claim, claim.side(claim.test.a), claim.test.beside).values())))
    never = ": the clip never binds, and both are the same runs" if mean == 0 else ""
    return f"steps clipped with {claim.test.a}: {mean:.2f} %{never}"


def _free_of_test(claim: Claim, shelf: Shelf, note: str) -> Measured:
    """Compare to the last digit, or report a cost that has nothing to be compared with."""
    if claim.test.kind == "cost":
        return Measured("inconclusive", _cost(claim, shelf), note)
    a, b = (shelf.values(claim, claim.side(variant), claim.test.column) for variant in (claim.test.a, claim.test.b))
    seeds = a.keys() & b.keys()
    same = sum(a[seed] == b[seed] for seed in seeds)
    verdict: Verdict = "inconclusive" if not seeds else "supported" if same == len(seeds) else "not supported"
    return Measured(verdict, f"equal on {same} of {len(seeds)} seeds", note)


def _cost(claim: Claim, shelf: Shelf) -> str:
    """Write the mean wall-clock seconds of server work per round."""
    (term,) = claim.side(claim.test.a)
    records = [record for run in shelf.runs(claim, term).values() if (record := shelf.record(run)) is not None]
    mean, half, n = stats.mean_ci([server_seconds(record) / record.rows[-1]["round"] for record in records])
    return f"{mean:.3f} ± {half:.3f} s per round (n = {n})"


def corrected(family: Iterable[Measured]) -> list[tuple[Verdict, float | None, str]]:
    """Return verdict, corrected p (none without a test) and note of each claim of one family."""
    members = list(family)
    p, p_small = (_holm(members, name) for name in ("p", "p_small"))
    return [_judged(m, p.get(m.key, np.nan), p_small.get(m.key, np.nan)) for m in members]


def _holm(members: Sequence[Measured], name: Literal["p", "p_small"]) -> dict[Key | None, float]:
    """Return key -> Holm's p; what is not run yet, or has too few seeds, counts as 1."""
    known = {m.key: getattr(m, name) for m in members if m.key is not None}
    adjusted = stats.holm([1.0 if p is None else p for p in known.values()])
    return {key: float(p) for key, p in zip(known, adjusted, strict=True) if p is not None}


def _judged(found: Measured, p: float, p_small: float) -> tuple[Verdict, float | None, str]:
    if found.verdict is not None or found.p is None:
        return found.verdict or "inconclusive", None, found.note
    more, less = found.lead > 0 and p < LEVEL, found.lead < found.small and p_small < LEVEL
    unit = "point" if found.small == 1 else "points"
    excluded = f"a lead of {found.small:g} {unit} or more is excluded (p {p_text(p_small)})"
    note = "; ".join(filter(None, [found.note, excluded if less and found.small else ""]))
    return "supported" if more else "not supported" if less else "inconclusive", p, note
