"""Measures how far the numbers of a run are apart under other instructions or threads: the run is made again."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedecho.core import files, provenance
from fedecho.core.checks import require
from fedecho.core.records import RUNS, Record
from fedecho.learning import experiment
from fedecho.studies.tolerance import STORE, WRITTEN, Recorded, Tolerances, committed, distances, kind_of, load, words
from fedecho.theory import engine
from fedecho.theory.records import THEORY

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}  # fmt: skip
"""What keeps torch, its libraries and numpy from more than AVX2."""
VARIANTS: dict[str, tuple[Mapping[str, str], int]] = {
    "AVX512, 1 thread": ({}, 1), "AVX512, 2 threads": ({}, 2), "AVX2, 1 thread": (AVX2, 1),
    "AVX2, 2 threads": (AVX2, 2),
}  # fmt: skip


def measure(stored: Sequence[Path], variants: Sequence[str] = tuple(VARIANTS)) -> Iterator[str]:
    """Make committed runs again under each of the `variants`, write to `paper/tolerances.json` how far any two records
    of the same run are apart, and yield a line for each run; kinds measured before and not now stay.

    Raises `InputError` where this machine has no AVX512 to compare with.
    """
    here = torch.backends.cpu.get_cpu_capability()
    require(here == "AVX512", "cpu_capability", here, "measure on a processor with AVX512, and set no limit")
    for path in stored:
        first = load(path)
        kind, made = kind_of(first), [_made_again(path, *VARIANTS[name]) for name in variants]
        pairs = [distances(a, b) for place, a in enumerate([first, *made]) for b in made[place:]]
        last = committed()
        known = {name: math.inf if value is None else value for name, value in last.kinds.get(kind, {}).items()}
        columns = dict.fromkeys(chain(known, *pairs))
        seen = {name: max(gaps.get(name, 0.0) for gaps in (known, *pairs)) for name in columns if name != WRITTEN}
        runs = [*last.runs.get(kind, ()), f"{first.hash}: {'; '.join(variants)}"]
        found = {name: value if math.isfinite(value) else None for name, value in seen.items() if value}
        new = Tolerances(
            provenance.collect("cpu"),
            dict(sorted({**last.kinds, kind: {name: _rounded_up(v) for name, v in found.items()}}.items())),
            dict(sorted({**last.runs, kind: sorted(set(runs))}.items())),
        )
        STORE.save(new, STORE.path(files.paper(), "tolerances"))
        yield f"{kind}: {words(found) or 'the same bytes'} ({first.hash})"


def _rounded_up(value: float | None) -> float | None:
    """Round to two digits, never down."""
    if not value:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.1e}")


def _made_again(stored: Path, limits: Mapping[str, str], threads: int) -> Recorded:
    """Make a record again in a process of its own: what limits its instructions is read as it starts."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / stored.parent.name / stored.name
        code = f"from fedecho.studies.remake import again; again({str(stored)!r}, {threads}, {str(out)!r})"
        quiet = ["-W", "ignore"]  # numpy warns of each feature that this processor lacks anyway
        subprocess.run([sys.executable, *quiet, "-c", code], env={**os.environ, **limits}, check=True)
        return load(out)


def again(stored: str, threads: int, out: str) -> None:
    """Make the record in a file again, with so many threads, into the file `out`; outside of `measure` all runs have
    one thread, whatever torch is told."""
    record = load(Path(stored))
    torch.set_num_threads(threads)
    if isinstance(record, Record):
        RUNS.save(_unbound(experiment.run)(record.run_config()), Path(out))
    else:
        THEORY.save(_unbound(engine.execute)(record.run()), Path(out))


def _unbound(run: Any) -> Any:
    """Return what `experiment.one_thread` decorates."""
    return run.__wrapped__


def one_of_each(paths: Iterable[Path], seed: int = 0) -> list[Path]:
    """Return a record of each kind among files of records, drawn at random, of runs that came to their end."""
    chosen: dict[str, Path] = {}
    ordered = sorted(paths)
    for place in np.random.default_rng(seed).permutation(len(ordered)):
        record = load(ordered[place])
        if not isinstance(record, Record) or record.status == "done":
            chosen.setdefault(kind_of(record), ordered[place])
    return [chosen[name] for name in sorted(chosen)]
