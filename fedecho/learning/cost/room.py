"""Whether memory holds what is to be run, asked before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, override
from fedecho.learning.cost import peak
from fedecho.learning.cost.peak import megabytes, total

WORKER = 300_000_000
"""Bytes of a worker without its tensors: Python, torch and the bundled data, as measured on Linux."""
_SMALLER = (("bank_dtype", "float16"), *(("bank_top_k", kept) for kept in (64, 16, 4, 1)))
"""Forms of the bank that take less, the largest first."""


def require_room(runs: Iterable[RunConfig], workers: int = 0, device: str = "cpu") -> None:
    """Raise `InputError` where a run, or as many of the largest as there are workers, would hold more than this machine
    has free. Runs on a GPU and models of one's own are left out."""
    found = largest([run for run in runs if device == "cpu" and peak.is_known(run.model)], workers or 1)
    needed, free = sum(size for size, _ in found) + WORKER * min(workers, len(found)), free_memory()
    if free is not None and needed > free:
        fewer = "run fewer at a time with --jobs, " if len(found) > 1 else ""
        parts, bank = peak.listed(peak.predicted_peak(found[0][1])), _bank_that_fits(found, needed - free)
        words = f"lower what takes most of it ({parts}){bank}, or go on with --force"
        of = f" of {len(found)} workers" if workers else ""
        raise InputError("memory", f"{megabytes(needed)} MB{of}", f"{megabytes(free)} MB are free; {fewer}{words}")


def _bank_that_fits(found: Sequence[tuple[int, RunConfig]], over: int) -> str:
    """Say which smaller form of the bank saves `over` bytes or more; nothing if none does, or a run has no bank."""
    for field, value in _SMALLER if all(run.distill for _, run in found) else ():
        if sum(size - total(override(run, f"method.distill.{field}", value)) for size, run in found) >= over:
            return f", set method.distill.{field} = {value}, which fits"
    return ""


def largest(runs: Iterable[RunConfig], count: int) -> list[tuple[int, RunConfig]]:
    """Return the `count` runs that hold most at their peaks, with their bytes, the largest first."""
    alike = dict[RunConfig, list[RunConfig]]()  # seeds need alike, and each prediction draws a schedule
    for run in runs:
        alike.setdefault(replace(run, seed=0), []).append(run)
    sizes = [(size, run) for same in alike.values() for size in [total(same[0])] for run in same[:count]]
    return sorted(sizes, key=itemgetter(0), reverse=True)[:count]


def free_memory() -> int | None:
    """Return the bytes that processes can still get here: of the machine, and of the container it may be; none where
    the system does not say."""
    found = list[int]()
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError):
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        found += [int(limit) - int(used)] if limit != "max" else []
    return min(found, default=None)
