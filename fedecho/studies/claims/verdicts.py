"""The rule of the primary claims: what the fresh seeds show, at which level, and how likely that was beforehand.

Why one level holds for both sides of a question. The lead of a claim is shown to be above 0, or below the smallest
effect of interest, by a two-sided p used in one direction, so at half its level. Holm's correction over the primary
claims of a family at 5 % then leaves at most 2.5 % for any false "supported", and on the other side at most 2.5 % for
any false "not supported": together 5 %. Under any true lead at most one of the two is false, for none is <= 0 and >=
the smallest effect. That does not make one family of the smaller p-values right: a claim rightly "not supported" would
leave the count although it had its chance of a false "supported"; with leads of 0 and effects of 4.5 standard errors
such a rule errs in 9 % of the families of fifteen claims on ten seeds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedecho.core import stats
from fedecho.report.captions import number
from fedecho.report.summary import Verdict
from fedecho.studies.claims.claim import Claim

FLOOR: Final = "at the floor"
LEVEL, POWER = 0.05, 0.8
SMALL = "but smaller than the effect of interest"
RULE = f"""\
Each primary claim is tested once, on fresh seeds alone, by paired t-tests. **Supported**: the lead is above 0 (of \
equivalence: within ± the smallest effect of interest). **Not supported**: it is below that effect \
(outside). Both: supported, {SMALL}. **Inconclusive**: neither, or only the better one diverged. **At the floor**: no \
run learns anything, so nothing varies. **Not run**: records are missing. p values are corrected by Holm over the \
claims written down together: the chance of any false verdict is at most 5 %. Checks of the theory follow their \
notebooks' rules. All else is exploratory: estimates with 95 % intervals, positive in the claimed direction."""
COLUMNS = """\
p is two-sided and belongs to the verdict (where both sides are shown, the larger one; without a verdict, that of the \
side that is shown more clearly): beside *not \
supported* a small p speaks against a lead as large as the smallest effect. Power: the chance of the likelier \
verdict, as predicted from earlier seeds. n for 80 %: the seeds that this would need, as predicted from all of them."""


@dataclass(frozen=True)
class Sample:
    """The values of both sides of a claim on some seeds."""

    values: Mapping[int, tuple[float, float] | None]
    """Seed -> both, nan for a side of which a run diverged; none where a record is missing."""
    sign: int = 1
    idle: frozenset[int] = frozenset()
    """Seeds on which no run has learnt anything."""

    def on(self, seeds: set[int]) -> Sample:
        """Return the part on some of the seeds."""
        return Sample({seed: pair for seed, pair in self.values.items() if seed in seeds}, self.sign, self.idle)

    @property
    def pairs(self) -> dict[int, tuple[float, float]]:
        """Seed -> both values, where all runs finished."""
        return {seed: pair for seed, pair in self.values.items() if pair and np.isfinite(pair).all()}

    @property
    def leads(self) -> list[float]:
        """How far the claimed direction is ahead, seed by seed."""
        return [self.sign * (a - b) for a, b in self.pairs.values()]

    @property
    def lacking(self) -> int:
        """How many seeds lack a record."""
        return sum(pair is None for pair in self.values.values())

    @property
    def failed(self) -> bool:
        """Whether on a seed `a` alone diverged, which leaving the seed out must not help."""
        return any(pair and np.isnan(pair[0]) and not np.isnan(pair[1]) for pair in self.values.values())

    @property
    def floor(self) -> bool:
        """Whether nothing varies because no run of any seed has learnt anything."""
        return bool(self.pairs) and np.ptp(self.leads) == 0 and self.idle >= self.pairs.keys()

    @property
    def note(self) -> str:
        """What keeps seeds from the numbers."""
        asked, used = len(self.values), len(self.pairs)
        if self.lacking or not asked:
            return f"{asked - self.lacking} of {asked} seeds are there" if asked else "its fresh seeds are not run yet"
        left = f"{asked - used} of {asked} seeds left out, a run diverged" if used < asked else ""
        flattered = "; on some only that of the method claimed to be better, so the seeds that are left flatter it"
        return left + flattered * self.failed

    def text(self, unit: str = "points") -> str | None:
        """Write the mean lead with its 95 % interval and the two means behind it; none before all seeds are there."""
        if self.lacking or not self.pairs:
            return None
        mean, half, _ = stats.mean_ci(self.leads)
        if unit != "points":
            return f"{mean:.3f} ± {half:.3f} {unit}"
        ends = " against ".join(number(float(end)) for end in np.mean(list(self.pairs.values()), axis=0))
        return f"{FLOOR} ({ends})" if self.floor else f"{number(mean, half, '+')} points ({ends})"


End = tuple[float, int]
"""A limit, and the side of it on which a lead lies: 1 above, -1 below."""
Regions = list[list[End]]
"""Each between its ends; a lead in any of them counts."""


def regions(claim: Claim) -> tuple[Regions, Regions]:
    """Return where the lead lies if a claim is supported, and where if it is not."""
    small = claim.margin or 0.0
    if claim.test.kind == "equivalent":
        return [[(-small, 1), (small, -1)]], [[(small, 1)], [(-small, -1)]]
    return [[(0.0, 1)]], [[(small, -1)]]


def p_of(leads: Sequence[float], where: Regions) -> float:
    """Return the p of the mean lead being in one of the regions: of its farther end, times the number of regions."""
    return min(1.0, len(where) * min(max(_beyond(leads, *end) for end in region) for region in where))


def _beyond(leads: Sequence[float], limit: float, side: int) -> float:
    """Return the two-sided p of the mean lead against a limit, 1 on the wrong side of it or without a test."""
    values = dict(enumerate(leads))
    mean, _, p, _ = stats.paired_difference(values, dict.fromkeys(values, limit))
    return 1.0 if p is None or side * mean <= 0 else p


def spread(leads: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation; nan for fewer than two."""
    return (float(np.mean(leads)), float(np.std(leads, ddof=1))) if len(leads) > 1 else (np.nan, np.nan)


def power_of(claim: Claim, leads: Sequence[float], n: int, level: float) -> float:
    """Return the chance of the likelier verdict on n seeds if the leads are such as these, at a level of the p-values;
    nan for fewer than two of these."""
    mean, sd = spread(leads)
    return max(
        sum(stats.power(side * (mean - limit), sd, n, level / len(where)) for limit, side in region) - len(region) + 1
        for where in regions(claim)
        for region in where
    )


def needed(claim: Claim, leads: Sequence[float], level: float, most: int = 10_000) -> int | None:
    """Return how many seeds give a verdict with a chance of 80 %; none where `most` would not, or for no seeds."""
    n = 2 + bisect_left(range(2, most), POWER, key=lambda n: power_of(claim, leads, n, level))
    return n if n < most and len(leads) > 1 else None


@dataclass(frozen=True)
class Judged:
    """The verdict on a primary claim; `qualifier` belongs to it."""

    verdict: Verdict
    qualifier: str = ""
    p: float | None = None


def judged(family: Sequence[tuple[Claim, Sample]]) -> list[Judged]:
    """Return the verdict on every primary claim, from the samples of their fresh seeds; one without a test counts in
    Holm's correction as p = 1."""
    raw = [[p_of(_testable(sample), where) for where in regions(claim)] for claim, sample in family]
    sides = [stats.holm(side) for side in zip(*raw, strict=True)]
    found = zip(family, *sides, strict=True)
    return [_judged(sample, float(above or 0), float(below or 0)) for (_, sample), above, below in found]


def _testable(sample: Sample) -> list[float]:
    """Return the leads of a sample, none of one that cannot be tested."""
    return [] if sample.lacking or sample.failed or sample.floor else sample.leads


def _judged(sample: Sample, above: float, below: float) -> Judged:
    if sample.lacking or not sample.values:
        return Judged("not run")
    if sample.floor:
        return Judged(FLOOR)
    p = min(above, below) if len(_testable(sample)) > 1 else None
    if above < LEVEL:
        return Judged("supported", SMALL, max(above, below)) if below < LEVEL else Judged("supported", "", p)
    return Judged("not supported" if below < LEVEL else "inconclusive", "", p)
