"""How hyper-parameters are searched: a design over the whole space, then steps around the best point so far."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from fedecho.core.rng import stream

T = TypeVar("T")
Point = dict[str, float]
"""Dotted field of `RunConfig` -> value."""
AROUND = 4
"""Trials of one refinement, whatever the number of hyper-parameters."""
_OFFSETS = {
    1: ((-1,), (1,), (-0.5,), (0.5,)),
    2: ((-1, 0), (1, 0), (0, -1), (0, 1)),
    3: ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)),
}
"""Number of hyper-parameters -> where a refinement looks, in steps: both sides, and the corners of a tetrahedron."""


@dataclass(frozen=True)
class Range:
    """Values of one hyper-parameter, searched on a log scale."""

    low: float
    high: float
    limit: float = math.inf
    """A natural bound: nothing lies beyond it, so a best value there is at no edge."""
    decay: bool = False
    """The value is a decay d in [0, 1): 1 - d is searched on the log scale."""

    def place(self, value: float) -> float:
        """Return where a value lies: its logarithm, of a decay minus that of 1 - d."""
        return -math.log(1 - value) if self.decay else math.log(value)

    def value(self, place: float) -> float:
        """Return the value at a place, to 3 digits, at most the natural bound."""
        if self.decay:
            return round(1 - float(f"{math.exp(-max(place, 0.0)):.3g}"), 9)
        return min(float(f"{math.exp(place):.3g}"), self.limit)

    def at(self, share: float) -> float:
        """Return the value at a share in [0, 1] of the range."""
        return self.value(self.place(self.low) + share * self.width)

    @property
    def width(self) -> float:
        """The length of the range on its scale."""
        return self.place(self.high) - self.place(self.low)


Space = Mapping[str, Range]
"""Dotted field of `RunConfig` -> the values that are searched."""


def design(space: Space, count: int) -> list[Point]:
    """Return `count` points over the whole space: a centred Latin hypercube; of one hyper-parameter a plain grid."""
    return [
        {path: space[path].at(float(share)) for path, share in zip(space, shares, strict=True)}
        for shares in _cube(len(space), count)
    ]


@functools.cache
def _cube(dimensions: int, count: int) -> NDArray[np.float64]:
    cube = qmc.LatinHypercube(dimensions, scramble=False, optimization="random-cd", rng=stream(0, "tuning"))
    return np.asarray(cube.random(count))


def around(space: Space, centre: Point, step: float) -> list[Point]:
    """Return `AROUND` points a `step` (a share of each range) from the centre.

    A coordinate that would pass its natural bound goes half as far to the other side instead.
    """
    return [
        {path: _moved(space[path], centre[path], sign * step) for path, sign in zip(space, signs, strict=True)}
        for signs in _OFFSETS[len(space)]
    ]


def _moved(of: Range, value: float, share: float) -> float:
    beyond = value >= of.limit and share > 0
    return of.value(of.place(value) + of.width * (-share / 2 if beyond else share))


def search(
    space: Space, start: Point, count: int, rounds: int, outcome: Callable[[Point], Sequence[float] | None]
) -> list[Point]:
    """Return the points to try, as far as they are known: the values in use (`start`), `count` over the space, then
    `rounds` times `AROUND` around the best so far, whose steps are halved at first and whenever the best stayed.

    `outcome`: point -> score of each seed (nan = diverged), none before all of its runs are there. A design of n points
    in d dimensions lies n^(-1/d) of a range apart, from which the steps are counted.
    """
    points, step, centre = [start, *design(space, count)], count ** (-1 / len(space)), start
    for number in range(rounds):
        found = [scores for point in points if (scores := outcome(point)) is not None]
        best = best_of(points, found) if len(found) == len(points) else None
        if best is None:
            break
        step = step / 2 if number == 0 or best == centre else step
        centre = best
        points += [point for point in around(space, centre, step) if point not in points]
    return points


def best_of(points: Sequence[T], outcomes: Sequence[Sequence[float]]) -> T | None:
    """Return the first point with the highest mean score, among those without a seed that diverged."""
    means = [float(np.mean(scores)) for scores in outcomes]
    steady = [mean for mean in means if not math.isnan(mean)]
    return points[means.index(max(steady))] if steady else None


def chosen(points: Sequence[Point], outcomes: Sequence[Sequence[float]]) -> Point | None:
    """Return the point that is used: the first of `points`, the values in use, unless others beat it on every seed; of
    these the one with the highest mean. Values in use that diverged are beaten by any that did not."""
    first = [-math.inf if math.isnan(score) else score for score in outcomes[0]]
    better = [all(new > old for new, old in zip(scores, first, strict=True)) for scores in outcomes]
    rivals = [k for k, beats in enumerate(better) if beats]
    kept = None if -math.inf in first else points[0]
    return best_of([points[k] for k in rivals], [outcomes[k] for k in rivals]) or kept


def edges(space: Space, chosen: Point, points: Sequence[Point]) -> dict[str, str]:
    """Return field -> "smallest" or "largest" where a chosen value is the extreme of all that were tried and not a
    natural bound; trials beyond it that diverged count as tried."""
    out = {}
    for path, of in space.items():
        tried = [point[path] for point in points]
        if chosen[path] == min(tried) and not (of.decay and chosen[path] == 0):
            out[path] = "smallest"
        elif chosen[path] == max(tried) and chosen[path] < of.limit:
            out[path] = "largest"
    return out
