"""The command that trains everything that a table lacks."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fedecho.cli.words import Profile, tell
from fedecho.core import numerics
from fedecho.core.checks import require, require_jobs
from fedecho.core.files import use_data
from fedecho.learning.bar import saying

if TYPE_CHECKING:
    from fedecho.studies.budget import Plan
    from fedecho.studies.cluster import Cluster


def sweep(
    profile: Profile = "laptop",
    only: str | None = None,
    budget: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    shard: str | None = None,
    cluster: bool = False,
    shared: Path | None = None,
    gpus_per_run: float | None = None,
    data_root: Path | None = None,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Train whatever a table still lacks, in parallel processes; Ctrl-C loses only the runs in progress.

    Args:
        only: which runs: vision, tuning, a study such as controls, or all (if omitted: vision; with a budget or for
            a block: all).
        budget: time limit such as 25m or 1h30m; the most important runs go first, unfinished ones resume next time.
        jobs: number of processes (if omitted: all cores, or 1 on a GPU, which several can share).
        fresh: train everything again.
        shard: k/n, e.g. 3/16: train only part k of n, to divide the runs among n machines.
        cluster: use the Ray cluster that this machine belongs to, or the one in RAY_ADDRESS; records come back here.
        shared: with a cluster, a folder that all its nodes can access; progress is saved there in case a node dies.
        gpus_per_run: with a cluster and a GPU, the share of a GPU per run, e.g. 0.25 (if omitted: 1).
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
        device: cpu or cuda.
        force: train even if the predicted memory is not free.
    """
    began = time.time()  # before anything heavy is imported: a budget counts from here
    from fedecho.studies import budget as budgets, forecast, plan, profiles, sweep as sweeping
    from fedecho.studies.cluster import asked_for

    use_data(data_root)
    scale = profiles.profile(profile).name
    require_jobs(jobs)
    nodes, mine = asked_for(cluster, shared, gpus_per_run, device), plan.shard(shard)
    jobs = jobs or (None if device == "cpu" or nodes else 1)
    known = plan.trained(scale)
    only = only or ("vision" if budget is None and "vision" in known else "all")
    names = list(known) if only == "all" else [only]
    require(budget is None or not fresh, "fresh", fresh, "it does not go together with a budget; leave one of them out")
    seconds = None if budget is None else budgets.seconds_of(budget)
    studies, trained = plan.named(names, scale), 0
    tell(numerics.warning(part for study in studies for part in study.parts()))
    if seconds is not None:
        left = budgets.plan([run for run in plan.ordered(scale, names) if mine(run.config)], device)
        _work_off(left, seconds, began, scale, not (force or cluster), jobs=jobs, cluster=nodes, device=device)
        return
    with saying("reading the records that are there, and reckoning what is missing"):
        todo = plan.runs_of(studies, fresh, True, mine)
        said = forecast.outlook(studies, todo, scale, jobs=jobs, device=device)
    print(*said, sep="\n", file=sys.stderr)
    if not (force or cluster):
        sweeping.require_room([run for runs in todo.values() for run in runs], jobs, device)
    while any(todo.values()):  # the trials of a tuning ask for others
        trained += sweeping.sweep(todo, jobs=jobs, fresh=fresh, cluster=nodes, device=device)
        todo, fresh = plan.runs_of(studies, False, True, mine), False
    print(f"{only}, {profile}: {trained} runs trained, the others had records")


def _work_off(
    plan: Plan, seconds: float, began: float, scale: str, room: bool, *, jobs: int | None, cluster: Cluster | None,
    device: str,
) -> None:  # fmt: skip
    """Do what fits into a budget that counts from `began`, and say what remains; `room`: memory has to suffice."""
    from fedecho.learning.cost import peak
    from fedecho.studies import budget as budgets, sweep as sweeping

    if plan.todo:
        budgets.require_enough(plan, seconds, device)
    print(*plan.left_out, plan.outlook(f"{scale}: "), sep="\n", file=sys.stderr)
    if plan.todo:
        print(f"the first one: {peak.text(plan.todo[0].config)}", file=sys.stderr)
        if room:
            sweeping.require_room([run.config for run in plan.todo], jobs, device)
        plan = budgets.work_off(plan, seconds - (time.time() - began), jobs=jobs, cluster=cluster, device=device)
        print(f"{len(plan.finished)} runs finished; {plan.outlook()}")
