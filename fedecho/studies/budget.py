"""A sweep that ends in time: the most wanted runs first, what is unfinished kept for the next call."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fedecho.core import files, records
from fedecho.core.checks import require
from fedecho.core.workers import MOST, Workers
from fedecho.learning.cost import duration
from fedecho.learning.cost.duration import Rates
from fedecho.studies import sweep
from fedecho.studies.cluster import Cluster, Nodes
from fedecho.studies.sweep import Wanted

_UNITS = {"s": 1, "m": 60, "h": 3600}
_SHARE, _LEAST, _LONGEST = 0.05, 5.0, 30.0
"""Share of a budget that is left for files to be written and processes to end, and its limits in seconds."""


def seconds_of(budget: str) -> float:
    """Return the seconds of a text such as 25m, 90s or 1h30m."""
    whole = re.fullmatch(r"(?:\d+(?:\.\d+)?[smh])+", budget)
    require(whole is not None, "budget", budget, "write a time such as 25m, 90s or 1h30m")
    seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([smh])", budget))
    require(seconds <= 1e4 * _UNITS["h"], "budget", budget, "give at most 10000h")
    return seconds


@dataclass
class Plan:
    """The runs still to do and what is known of how long they take."""

    todo: list[Wanted]
    rates: Rates
    finished: list[Wanted] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Why runs were left out, a line each."""

    def outlook(self, before: str = "") -> str:
        """Say how many runs remain and how long they would take."""
        if not self.todo:
            return f"{before}nothing is missing"
        total = sum(self.rates.seconds(run.config) for run in self.todo)
        measured = all(self.rates.measured(run.config) for run in self.todo)
        how = "as measured" if measured else f"if this device does {self.rates.prior:.0e} FLOP/s, not measured yet"
        begun = sum(run.progress.is_file() for run in self.todo)
        some = f", {begun} of them begun" if begun else ""
        return f"{before}{len(self.todo)} runs remain{some}: about {duration.text(total)} one after the other, {how}"


def plan(wanted: Sequence[Wanted], device: str) -> Plan:
    """Return what is missing, runs already begun first; raises `InputError` where no data are there for any of it."""
    for folder in dict.fromkeys(run.folder for run in wanted):
        files.require_folder(folder, "records", files.WRITABLE)
    missing = [run for run in wanted if records.find(*run) is None]
    absent = sweep.absent_data([run.config for run in missing])
    able = [run for run in missing if (run.config.data.name, run.config.data.pool) not in absent]
    if missing and not able:
        raise next(iter(absent.values()))
    counts = {key: sum((r.config.data.name, r.config.data.pool) == key for r in missing) for key in absent}
    left_out = [f"left out: {counts[key]} runs on {' with U from '.join(key)} ({e})" for key, e in absent.items()]
    return Plan(sorted(able, key=lambda run: not run.progress.is_file()), Rates(device), left_out=left_out)


def require_enough(plan: Plan, budget: float, device: str) -> None:
    """Raise `InputError` unless the first run can start and reach an evaluation."""
    first = plan.todo[0].config
    start, interval = duration.START[duration.kind(device)], plan.rates.seconds(first, first.evaluation.every)
    need = start + interval
    least = math.ceil(min(max(need + _LEAST, need / (1 - _SHARE)), need + _LONGEST))
    allowed = (
        f"the next run, {first.method.name} with {first.model}, is reckoned to need {start:.0f} s to start and "
        f"{duration.text(interval)} to its first evaluation; give {least}s or more"
    )
    require(budget >= least, "budget", f"{budget:g}s", allowed)


def work_off(
    plan: Plan,
    budget: float,
    *,
    jobs: int | None = None,
    cluster: Cluster | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
    now: Callable[[], float] = time.time,
) -> Plan:
    """Do what fits into `budget` seconds, `jobs` runs at a time (none: as many as there is room for), and return the
    plan with what remains."""
    end = now() + budget
    deadline = end - min(max(_SHARE * budget, _LEAST), _LONGEST)
    queue = list(plan.todo)

    def fill(pool: Workers[Wanted] | Nodes[Wanted]) -> bool:
        """Start what there is room and time for; tell whether anything runs."""
        while queue and len(pool.busy) < min(jobs or pool.slots, MOST):
            config, start = queue[0].config, duration.START[duration.kind(device)]
            if deadline - now() <= start + plan.rates.seconds(config, config.evaluation.every):
                break
            run = queue.pop(0)
            pool.start(run, sweep.run_and_save, *run[::-1], device, deadline)
        return bool(pool.busy)

    with sweep.swept_up(queue), sweep.workers(lambda run: sweep.name_of(run.config), cluster) as pool:
        while fill(pool) and (ended := pool.ended(max(0.0, end - now()))):
            for run, done in ended:
                _note(plan, run, done, say)
        for run in pool.busy:  # a round takes longer than any before it
            say(f"{run.config.method.name}, seed {run.config.seed}: stopped in the middle of a long round")
    return plan


def _note(plan: Plan, run: Wanted, done: sweep.Done, say: Callable[[str], None]) -> None:
    plan.rates.saw(run.config, done.rounds_made, done.seconds)
    about = f"{run.config.method.name}, seed {run.config.seed}"
    if done.rounds is None:
        plan.todo.remove(run)
        plan.finished.append(run)
        say(plan.outlook(f"{about}: done in {duration.text(done.seconds)}; "))
    else:
        say(f"{about}: {done.rounds} of {run.config.protocol.rounds} rounds are done and kept")
