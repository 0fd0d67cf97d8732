"""How hyper-parameters are searched: what is tried, what is chosen, and what counts as an edge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from fedecho.studies import search
from fedecho.studies.search import AROUND, Point, Range

RATE = {"lr": Range(0.01, 1.0)}
TWO = {"lr": Range(0.01, 1.0), "mixing": Range(0.01, 1.0, limit=1.0)}
THREE = TWO | {"ema": Range(0.9, 0.99, decay=True)}
NAN = math.nan


def places(points: Sequence[Point], path: str = "lr") -> list[float]:
    return [point[path] for point in points]


def test_one_hyper_parameter_is_searched_on_a_geometric_grid() -> None:
    # Two points in the middles of the halves of (-2, 0), in powers of ten.
    assert sorted(places(search.design(RATE, 2))) == [0.0316, 0.316]


@pytest.mark.parametrize("space", [RATE, TWO, THREE])
def test_a_design_takes_as_many_distinct_values_of_each(space: search.Space) -> None:
    points = search.design(space, 8)
    assert points == search.design(space, 8)
    for path, of in space.items():
        assert len(set(places(points, path))) == 8
        assert of.low <= min(places(points, path)) < max(places(points, path)) <= of.high


def test_a_decay_is_searched_by_what_it_lacks_of_one() -> None:
    of = Range(0.9, 0.99, decay=True)
    assert of.at(0.0) == 0.9 and of.at(1.0) == 0.99 and of.at(0.5) == pytest.approx(1 - 0.0316)
    assert of.value(-1.0) == 0.0  # no decay lies below none at all


def test_a_refinement_looks_a_step_away() -> None:
    # A quarter of two decades is a factor of 10^.5, half of that 10^.25.
    assert places(search.around(RATE, {"lr": 0.1}, 0.25)) == [0.0316, 0.316, 0.0562, 0.178]
    assert search.around(TWO, {"lr": 0.1, "mixing": 0.1}, 0.25) == [
        {"lr": 0.0316, "mixing": 0.1}, {"lr": 0.316, "mixing": 0.1},
        {"lr": 0.1, "mixing": 0.0316}, {"lr": 0.1, "mixing": 0.316},
    ]  # fmt: skip
    signs = [
        tuple(point[path] > centre for path, centre in (("lr", 0.1), ("mixing", 0.1), ("ema", 0.95)))
        for point in search.around(THREE, {"lr": 0.1, "mixing": 0.1, "ema": 0.95}, 0.25)
    ]
    assert signs == [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]


def test_nothing_lies_beyond_a_natural_bound() -> None:
    assert places(search.around(TWO, {"lr": 0.1, "mixing": 0.6}, 0.25), "mixing") == [0.6, 0.6, 0.19, 1.0]
    # From the bound itself a trial goes half as far to the other side.
    assert places(search.around(TWO, {"lr": 0.1, "mixing": 1.0}, 0.25), "mixing") == [1.0, 1.0, 0.316, 0.562]


def played(best: float, rounds: int, seen: int | None = None) -> list[float]:
    """Search one rate of which the score falls with the distance from `best`; the first `seen` trials have run."""
    known: dict[float, list[float]] = {}

    def outcome(point: Point) -> list[float] | None:
        if point["lr"] not in known and (seen is None or len(known) < seen):
            known[point["lr"]] = 2 * [-abs(math.log(point["lr"] / best))]
        return known.get(point["lr"])

    return places(search.search(RATE, {"lr": 0.05}, 2, rounds, outcome))


def test_the_values_in_use_come_first_and_the_best_is_refined() -> None:
    # In use, the design of two half a range apart, then half and quarter steps around the best of the three.
    assert played(0.3, 0) == [0.05, 0.0316, 0.316]
    assert played(0.3, 1) == [0.05, 0.0316, 0.316, 0.0999, 0.999, 0.178, 0.562]


def test_steps_are_halved_where_the_best_stays_and_kept_where_it_moves() -> None:
    assert played(0.3, 2)[7:] == [0.237, 0.421]  # an eighth around .316; a quarter had been tried
    assert played(1.5, 2)[3:] == [0.0999, 0.999, 0.178, 0.562, 3.16, 1.78]  # a quarter around .316, then around .999


def test_refinement_waits_for_all_before_it() -> None:
    assert played(0.3, 1, seen=2) == [0.05, 0.0316, 0.316]


@given(st.floats(0.011, 0.99), st.integers(1, 4))
def test_a_search_comes_nearer_with_every_round(best: float, rounds: int) -> None:
    def miss(tried: list[float]) -> float:
        return min(abs(math.log(lr / best)) for lr in tried)

    assert miss(played(best, rounds)) <= miss(played(best, rounds - 1))
    assert len(played(best, rounds)) <= 3 + AROUND * rounds


@pytest.mark.parametrize(("outcomes", "which"), [
    ([[70, 80], [71, 81], [75, 79]], 1),  # the third has the highest mean but is worse on one seed
    ([[70, 80], [71, 81], [90, 82]], 2),
    ([[70, 80], [70, 90], [60, 99]], 0),  # a tie on one seed beats nothing
    ([[70, 80], [NAN, 99], [90, NAN]], 0),
    ([[NAN, 80], [60, 70], [50, 90]], 2),  # what diverges in use goes
    ([[NAN, 80], [NAN, 90], [50, NAN]], None),
])  # fmt: skip
def test_values_in_use_stay_unless_others_are_better_on_every_seed(
    outcomes: list[list[float]], which: int | None
) -> None:
    points = [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    assert search.chosen(points, outcomes) == (None if which is None else points[which])


def test_edges() -> None:
    tried = [{"lr": 0.01, "mixing": 0.1, "ema": 0.9}, {"lr": 0.1, "mixing": 1.0, "ema": 0.0}]
    assert search.edges(THREE, tried[0], tried) == {"lr": "smallest", "mixing": "smallest", "ema": "largest"}
    # A mixing of 1 and no decay at all are natural bounds.
    assert search.edges(THREE, tried[1], tried) == {"lr": "largest"}
    assert search.edges(RATE, {"lr": 0.1}, [{"lr": 0.01}, {"lr": 0.1}, {"lr": 1.0}]) == {}
