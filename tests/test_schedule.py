"""The event loop: a schedule drawn by hand, its conservation laws, and the statistics of the official simulator."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fedecho.core.checks import InputError
from fedecho.core.settings import Delays, Protocol
from fedecho.simulation.delays import job_times, pin_trace, speed_classes
from fedecho.simulation.events import draw
from fedecho.simulation.schedule import Schedule, sequential, synchronous


def trace(tmp_path: Path, durations: dict[int, list[float]]) -> Delays:
    lines = ["client,duration", *(f"{c},{d}" for c, jobs in durations.items() for d in jobs)]
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n")
    return pin_trace(Delays("trace", trace=str(tmp_path / "trace.csv")))


def test_three_clients_by_hand(tmp_path: Path) -> None:
    # All three always work (N = M_c), so the order follows from the durations alone: client 0 every second,
    # client 1 every 2.5, client 2 every 9.9; a round closes at each second arrival and both then start again.
    delays = trace(tmp_path, {0: [1.0], 1: [2.5], 2: [9.9]})
    plan = draw(Protocol(3, 3, 2, 4), delays, seed=0)
    arrivals = [[(j.client, j.arrived_at, j.base_version) for j in rnd.arrivals] for rnd in plan.rounds]
    assert arrivals == [
        [(0, 1.0, 0), (1, 2.5, 0)],
        [(0, 3.5, 1), (1, 5.0, 1)],
        [(0, 6.0, 2), (1, 7.5, 2)],
        [(0, 8.5, 3), (2, 9.9, 0)],
    ]
    assert [rnd.staleness for rnd in plan.rounds] == [(0, 0), (0, 0), (0, 0), (0, 3)]
    assert [rnd.closed_at for rnd in plan.rounds] == [2.5, 5.0, 7.5, 9.9]
    assert plan.rounds[0].busy == {2}
    assert plan.uses_of_version() == Counter({0: 3, 1: 2, 2: 2, 3: 1})


def test_on_arrival_restarts_at_once(tmp_path: Path) -> None:
    delays = trace(tmp_path, {0: [1.0], 1: [2.4]})
    plan = draw(Protocol(2, 2, 2, 3, "on_arrival"), delays, seed=0)
    jobs = [[(j.client, j.dispatched_at, j.arrived_at, j.base_version) for j in rnd.arrivals] for rnd in plan.rounds]
    assert jobs == [
        [(0, 0.0, 1.0, 0), (0, 1.0, 2.0, 0)],  # the second closes round 0, so the third starts from version 1
        [(1, 0.0, 2.4, 0), (0, 2.0, 3.0, 1)],
        [(0, 3.0, 4.0, 2), (1, 2.4, 4.8, 1)],
    ]


def test_synchronous_rounds_wait_for_their_slowest(tmp_path: Path) -> None:
    delays = trace(tmp_path, {0: [1.0], 1: [2.0], 2: [7.0]})
    plan = draw(synchronous(Protocol(3, 3, 3, 2)), delays, seed=0)
    assert [rnd.closed_at for rnd in plan.rounds] == [7.0, 14.0]
    assert {tau for rnd in plan.rounds for tau in rnd.staleness} == {0}


def test_sequential_gives_every_arrival_its_own_round() -> None:
    assert sequential(Protocol(10, 5, 2, 7)) == Protocol(10, 5, 1, 14)


@pytest.mark.parametrize("start", [{"dispatch": "on_arrival"}, {"delta": "fadas_code"}], ids=str)
def test_other_loops_keep_the_rule_for_failed_uploads_and_no_rule_of_starting(start: Any) -> None:
    lenient = Protocol(10, 5, 2, 7, reject_failed=False, **start)
    assert synchronous(lenient) == Protocol(10, 2, 2, 7, reject_failed=False)
    assert sequential(lenient) == Protocol(10, 5, 1, 14, reject_failed=False)


def test_with_a_buffer_of_one_no_rule_of_starting_makes_a_difference() -> None:
    flush, arrival = (Protocol(10, 5, 1, 30, dispatch) for dispatch in ("on_flush", "on_arrival"))
    assert draw(flush, Delays("mild"), 0) == draw(arrival, Delays("mild"), 0)


def jobs_of(plan: Schedule) -> list[tuple[int, float, float]]:
    arrived = [job for rnd in plan.rounds for job in rnd.arrivals]
    return [(j.client, j.dispatched_at, j.arrived_at) for j in [*arrived, *plan.in_flight]]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 12), st.data(), st.sampled_from(["constant", "mild", "large", "uniform", "exponential", "lognormal",
                                                    "pareto", "bursty", "periodic"]),
    st.sampled_from(["on_flush", "on_arrival"]), st.integers(0, 99),
)  # fmt: skip
def test_invariants(clients: int, data: st.DataObject, model: str, dispatch: str, seed: int) -> None:
    concurrency = data.draw(st.integers(1, clients))
    buffer = data.draw(st.integers(1, concurrency))
    protocol = Protocol(clients, concurrency, buffer, 12, dispatch)  # type: ignore[arg-type]
    plan = draw(protocol, Delays(model), seed)  # type: ignore[arg-type]
    assert plan == draw(protocol, Delays(model), seed)  # type: ignore[arg-type]
    assert len(plan.in_flight) == concurrency
    assert all(len(rnd.arrivals) == buffer for rnd in plan.rounds)
    times = [job.arrived_at for rnd in plan.rounds for job in rnd.arrivals]
    assert times == sorted(times)
    jobs = jobs_of(plan)
    assert len(jobs) == len(plan.rounds) * buffer + concurrency  # each dispatched job arrives once or is in flight
    for client in range(clients):  # nobody does two jobs at once
        own = sorted((start, end) for c, start, end in jobs if c == client)
        assert all(end <= start for (_, end), (start, _) in zip(own, own[1:], strict=False))
    assert all(tau >= 0 for rnd in plan.rounds for tau in rnd.staleness)
    assert all(job.base_version <= rnd.index for rnd in plan.rounds for job in rnd.arrivals)


@pytest.mark.parametrize("model", ["constant", "mild", "large", "uniform", "exponential", "lognormal", "bursty"])
def test_mean_staleness_is_conserved(model: str) -> None:
    # Work in flight is M_c, M of it is consumed a round: tau_avg = M_c / M - 1, less what is in flight at the end.
    plan = draw(Protocol(rounds=500), Delays(model), 0)  # type: ignore[arg-type]
    assert plan.statistics()["tau_avg"] == pytest.approx(25 / 5 - 1, abs=0.25)


@pytest.fixture(scope="module")
def official() -> dict[str, list[dict[str, float]]]:
    return {
        m: [draw(Protocol(rounds=500), Delays(m), s).statistics() for s in range(20)]  # type: ignore[arg-type]
        for m in ("mild", "large")
    }


@pytest.mark.parametrize(
    ("model", "name", "expected", "tolerance"),
    [
        ("mild", "tau_avg", 3.97, 0.01), ("large", "tau_avg", 3.88, 0.03),
        ("mild", "round_tau_max", 7.8, 0.3), ("large", "round_tau_max", 9.1, 0.5),
        ("mild", "tau_max", 17, 2), ("large", "tau_max", 145, 10),
        ("mild", "virtual_time", 243, 10), ("large", "virtual_time", 268, 15),
        ("mild", "arrivals_slow", 0.044, 0.01), ("large", "arrivals_slow", 0.006, 0.002),
        ("mild", "arrivals_medium", 0.201, 0.02), ("large", "arrivals_medium", 0.213, 0.02),
        ("large", "clients_slow", 4.1, 0.7), ("large", "clients_medium", 13.6, 1.0),
    ],
)  # fmt: skip
def test_statistics_of_the_official_simulator(
    official: dict[str, list[dict[str, float]]], model: str, name: str, expected: float, tolerance: float
) -> None:
    """Means over 20 seeds of the official loop (N=50, M_c=25, M=5, T=500), re-derived call for call from its code."""
    assert np.mean([row[name] for row in official[model]]) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("model", "low", "high"), [("mild", 15, 19), ("large", 123, 166)])
def test_largest_staleness_lies_where_the_official_simulator_has_it(
    official: dict[str, list[dict[str, float]]], model: str, low: int, high: int
) -> None:
    # The range of 20 other seeds: most of ours must fall inside it, the extremes may differ.
    inside = [low <= row["tau_max"] <= high for row in official[model]]
    assert sum(inside) >= 15


def test_schedule_needs_no_torch() -> None:
    code = "import sys; import fedecho.simulation.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_smaller_tail_index_means_rarer_and_longer_jobs_of_the_same_mean() -> None:
    def jobs(shape: float) -> np.ndarray:
        sample = job_times(Delays("pareto", shape=shape), (1,), 0)
        return np.array([sample(0, 0.0) for _ in range(20_000)])

    light, heavy = jobs(3.0), jobs(1.5)
    assert light.mean() == pytest.approx(4.0, rel=0.05) and heavy.mean() == pytest.approx(4.0, rel=0.25)
    assert heavy.max() / np.median(heavy) > 3 * light.max() / np.median(light)


MEANS = [("exponential", 0, 1.5), ("lognormal", 2, 6.5), ("uniform", 0, 4.5), ("mild", 1, 4.0), ("large", 2, 65.0)]


@pytest.mark.parametrize(("model", "speed", "mean"), [*MEANS, ("constant", 2, 1.0)])
def test_mean_job_times(model: str, speed: int, mean: float) -> None:
    sample = job_times(Delays(model), (speed,), 0)  # type: ignore[arg-type]
    assert np.mean([sample(0, 0.0) for _ in range(20_000)]) == pytest.approx(mean, rel=0.05)


def test_bursts_bunch_the_arrivals() -> None:
    def variation(model: str) -> float:
        plan = draw(Protocol(rounds=300), Delays(model), 0)  # type: ignore[arg-type]
        gaps = np.diff([job.arrived_at for rnd in plan.rounds for job in rnd.arrivals])
        return float(gaps.std() / gaps.mean())

    assert variation("bursty") > 2 * variation("mild")


def test_jobs_that_end_in_an_outage_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # With every spell at its mean, outages last from 20 to 30 and from 50 to 60; a fast job takes 1 at least.
    means = SimpleNamespace(exponential=lambda mean: mean, uniform=lambda low, high: low)
    monkeypatch.setattr("fedecho.simulation.delays.stream", lambda *name: means)
    sample = job_times(Delays("bursty"), (0,), 0)
    ends = {start: start + sample(0, start) for start in (0.0, 18.5, 19.5, 28.5, 29.5, 48.5, 49.5, 59.5)}
    assert ends == {0.0: 1.0, 18.5: 19.5, 19.5: 30.0, 28.5: 30.0, 29.5: 30.5, 48.5: 49.5, 49.5: 60.0, 59.5: 60.5}


def test_jobs_that_end_at_night_end_when_the_client_wakes() -> None:
    by_day, by_night = (job_times(Delays(model), (0, 0, 0), 0) for model in ("uniform", "periodic"))
    for client, asleep in ((0, 30.0), (1, 0.0), (2, 30.0)):
        for start in np.arange(0.0, 120.0, 0.7):
            end, held = start + by_day(client, start), start + by_night(client, start)
            woken = 60 * ((end - asleep) // 60) + asleep + 30
            assert held == pytest.approx(woken if (end - asleep) % 60 < 30 else end)


def test_fixed_speed_counts_are_kept() -> None:
    stats = draw(Protocol(rounds=5), Delays(speed_counts=(25, 16, 9)), 3).statistics()
    assert (stats["clients_fast"], stats["clients_medium"], stats["clients_slow"]) == (25, 16, 9)


def test_a_trace_tells_who_is_slow(tmp_path: Path) -> None:
    # Means 9, 2.5, 5, 2.6, 1; the ends of fast and medium are 2.5 and 5.
    delays = trace(tmp_path, {0: [1.0, 17.0], 1: [2.5], 2: [4.0, 6.0], 3: [2.6], 4: [1.0]})
    plan = draw(Protocol(5, 5, 1, 5), delays, 0)
    assert plan.speed_class == (2, 0, 1, 1, 0)
    ranked = draw(Protocol(5, 5, 1, 5), dataclasses.replace(delays, speed_counts=(1, 2, 2)), 0)
    assert ranked.speed_class == (2, 1, 2, 1, 0) and ranked.rounds == plan.rounds


def test_equally_fast_clients_of_a_trace_are_told_apart_by_number(tmp_path: Path) -> None:
    delays = dataclasses.replace(trace(tmp_path, {c: [3.0] for c in range(4)}), speed_counts=(1, 2, 1))
    assert speed_classes(delays, 4, seed=0) == (0, 1, 1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client,duration\n0,1\n", "no job for client 1"),
        ("client,duration\n0,1\n1,-2\n", "finite number > 0"),
        ("client,duration\n0,1\n1,nan\n", "finite number > 0"),
        ("client,duration\n0,1\n7,2\n", "numbered 0 to 1"),
        ("who,when\n0,1\n", "its columns are .*who.*; give client,duration"),
        ("client;duration\n0;1\n", "its columns are .*client;duration"),
        ("client,duration\n0,1\n1,3,75\n", "the header has 2 columns, this line 3"),
        ("client,duration\n0,1\n1,1e300\n", "from 1e-06 to 1e.09"),
    ],
)
def test_bad_traces(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        draw(Protocol(2, 2, 1, 1), Delays("trace", trace=str(tmp_path / "bad.csv")), 0)


def test_a_changed_trace_is_noticed(tmp_path: Path) -> None:
    delays = trace(tmp_path, {0: [1.0], 1: [2.0]})
    (tmp_path / "trace.csv").write_text("client,duration\n0,1\n1,3\n")
    with pytest.raises(InputError, match="not the one of this run"):
        draw(Protocol(2, 2, 1, 1), delays, 0)


def test_missing_trace() -> None:
    with pytest.raises(InputError, match="no such file"):
        draw(Protocol(2, 2, 1, 1), Delays("trace", trace="nowhere.csv"), 0)
