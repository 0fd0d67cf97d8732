"""The command that trains everything that a table lacks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fedecho.cli.words import tell
from fedecho.core import numerics
from fedecho.core.checks import require, require_jobs
from fedecho.core.files import use_data


def sweep(
    profile: str = "laptop",
    only: str | None = None,
    budget: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    data_root: Path | None = None,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Train whatever a table still lacks, in parallel processes; Ctrl-C loses only the runs in progress.

    Args:
        profile: smoke, laptop or paper, or that of a block: cifar-small, language, generation.
        only: which runs: vision, tuning, a study such as controls, or all (left out: vision; with a budget or of a
            block: all).
        budget: a time such as 25m or 1h30m: the most wanted runs first, an unfinished one is kept for the next call.
        jobs: processes (left out: all cores, or one on a GPU, which several can share).
        fresh: train everything again.
        cluster: use the Ray cluster that this machine belongs to; its nodes must share the records' folder.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
        device: cpu or cuda.
        force: train even where the predicted memory is not free.
    """
    began = time.time()  # before anything heavy is imported: a budget counts from here
    from fedecho.learning.bar import saying
    from fedecho.learning.experiment import require_device
    from fedecho.studies import forecast, plan, profiles
    from fedecho.studies import sweep as sweeping

    use_data(data_root)
    scale = profiles.profile(profile).name
    require_jobs(jobs)
    require_device(device)
    jobs = jobs or (None if device == "cpu" else 1)
    known = plan.trained(scale)
    only = only or ("vision" if budget is None and "vision" in known else "all")
    names = list(known) if only == "all" else [only]
    if budget is not None:
        for name, chosen in (("fresh", fresh), ("cluster", cluster)):
            require(not chosen, name, chosen, "it does not go together with a budget; leave one of them out")
        _sweep_within(budget, began, scale, names, jobs, device, force)
        return
    studies, trained = plan.named(names, scale), 0
    tell(numerics.warning(part for study in studies for part in study.parts()))
    with saying("reading the records that are there, and reckoning what is missing"):
        todo = plan.runs_of(studies, fresh, all_runs=True)
        said = forecast.outlook(studies, todo, scale, jobs=jobs, device=device)
    print(*said, sep="\n", file=sys.stderr)
    if not (force or cluster):
        sweeping.require_room([run for runs in todo.values() for run in runs], jobs, device)
    while any(todo.values()):  # the trials of a tuning ask for others
        trained += plan.train_all(todo, jobs, fresh, cluster, device)
        todo, fresh = plan.runs_of(studies, False, all_runs=True), False
    print(f"{only}, {profile}: {trained} runs trained, the others had records")


def _sweep_within(
    budget: str, began: float, scale: str, names: Sequence[str], jobs: int | None, device: str, force: bool
) -> None:
    from fedecho.learning.cost import peak
    from fedecho.studies import budget as budgets
    from fedecho.studies import plan as plans
    from fedecho.studies.sweep import cores, require_room

    seconds = budgets.seconds_of(budget)
    tell(numerics.warning(part for study in plans.named(names, scale) for part in study.parts()))
    plan = budgets.plan(plans.ordered(scale, names), device)
    if plan.todo:
        budgets.require_enough(plan, seconds, device)
    print(*plan.left_out, plan.outlook(f"{scale}: "), sep="\n", file=sys.stderr)
    if plan.todo:
        print(f"each of {jobs or cores()} at a time, the first one: {peak.text(plan.todo[0].config)}", file=sys.stderr)
        if not force:
            require_room([run.config for run in plan.todo], jobs, device)
        plan = budgets.work_off(plan, seconds - (time.time() - began), jobs=jobs or cores(), device=device)
        print(f"{len(plan.finished)} runs finished; {plan.outlook()}")
