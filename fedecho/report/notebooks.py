"""Runs a notebook as one runs a command: checked parameters, this interpreter, and an output that is whole or absent.

papermill does the executing, in a process of its own per notebook (`kernels`), forked from one that has done the
imports (`preload`); a copy that came from the same sources and records stays (`stamps`). What papermill would let pass
is refused here: a misspelt or mistyped parameter, a kernel of another Python, a wait without end, a failed run that
looks like a finished one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedecho.core import files
from fedecho.core.checks import NotebookError as NotebookError, near, require, require_known
from fedecho.core.provenance import cores
from fedecho.report import kernels, parameters as parameters_of, stamps

GROUPS = {
    "quickstart": ("00_quickstart",),
    "algorithm": ("01_algorithm_step_by_step",),
    "tuning": ("02_tuning",),
    "own": ("03_your_own",),
    "vision": ("10_table_vision",),
    "language": ("11_table_language", "13_table_generation", "28_bank_compression"),
    "generation": ("13_table_generation", "28_bank_compression"),
    "unlabeled": ("12_table_unlabeled",),
    "cifar": ("14_table_cifar", "15_table_cifar_resnet"),
    "resnet": ("15_table_cifar_resnet",),
    "ablations": (
        "20_ablation_alpha",
        "21_ablation_nu",
        "22_ablation_data_size",
        "23_ablation_delay",
        "24_heterogeneity_buffer",
    ),
    "cost": ("25_server_cost", "40_cold_costs", "41_server_scale"),
    "controls": ("26_controls", "27_sensitivity", "29_teacher", "34_faulty_clients"),
    "teacher": ("29_teacher",),
    "theory": ("30_theory_convex", "31_theory_nonconvex", "32_theory_arrivals", "33_theory_distillation"),
}
"""What `ONLY=` understands besides the names of the notebooks themselves."""

_LIMITS = {"smoke": 600, "laptop": 8 * 3600, "paper": 3600}
"""Seconds that a notebook may take when nothing has been run yet; at the paper's scale none trains."""


def catalogue() -> dict[str, Path]:
    """Return every notebook by its stem, in reading order."""
    return {path.stem: path for path in sorted(files.notebooks().glob("*.ipynb"))}


def select(only: str = "all") -> list[str]:
    """Return the stems that `only` asks for, in reading order: all, a group, or one notebook by its stem, with or
    without the number."""
    known = list(catalogue())
    groups = {**{stem.partition("_")[2]: (stem,) for stem in known}, **GROUPS, "all": tuple(known)}
    words = f"choose one of all, {', '.join([*GROUPS, *known])}{near(only, [*groups, *known])}"
    require(only in (*groups, *known), "only", only, words)
    return list(groups.get(only, (only,)))


_ALONE = ("25_server_cost", "41_server_scale", "40_cold_costs")
"""Notebooks that measure time, and then the one that reads what all others have written."""
_TRAIN_THEMSELVES = (
    "00_quickstart", "01_algorithm_step_by_step", "03_your_own", "25_server_cost", "41_server_scale", *GROUPS["theory"],
)  # fmt: skip


def make(profile: str = "laptop", only: str = "all", fresh: bool = False, jobs: int | None = None) -> Iterator[Path]:
    """Execute the notebooks that `only` asks for and yield the copies in `paper/executed`, in reading order.

    As many run at a time as there are `jobs` (none = cores), those that measure time after the others and alone. Their
    runs are best trained before (`sweep.sweep`); `fresh` is for what only a notebook itself can make again.
    Without it, a notebook is not executed whose copy came from the same sources and records.
    """
    folder = files.folder_of("executed", profile)
    limit = _LIMITS.get(profile, max(_LIMITS.values()))
    stems = [stem for stem in select(only) if left_out(stem, profile) is None]

    def make_one(stem: str) -> Path:
        wanted = {"profile": profile, "fresh": fresh and stem in _TRAIN_THEMSELVES, "jobs": jobs or 0}
        known = parameters_of.declared(catalogue()[stem])
        given = {name: value for name, value in wanted.items() if name in known}
        final = folder.resolve() / f"{stem}.ipynb"
        if not fresh and stamps.holds(final, stamps.source(catalogue()[stem], given)):
            return final
        return execute(stem, given, folder, limit, kernels.FORK)

    pool = ThreadPoolExecutor(jobs or cores())
    try:
        yield from pool.map(make_one, [stem for stem in stems if stem not in _ALONE])
        yield from (make_one(stem) for stem in _ALONE if stem in stems)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        kernels.stop_all()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def left_out(stem: str, profile: str) -> str | None:
    """Say why a notebook is not executed at a profile, none if it is: tables never start days of training."""
    if profile != "paper" or stem not in _TRAIN_THEMSELVES or stem in GROUPS["theory"]:
        return None
    return f"{stem}: it trains or measures the paper's scale itself and is left out; open it in JupyterLab to run it"


def execute(stem: str, parameters: Mapping[str, object], output_dir: Path, timeout: int, fork: bool = False) -> Path:
    """Run the notebook `stem` and return its executed copy, `output_dir/<stem>.ipynb`, with its stamp beside it.

    `timeout` is the limit in seconds for the whole notebook. Raises `InputError` before anything starts, or
    `NotebookError`; a failed run leaves `<stem>.partial.ipynb` and no executed copy, not even an older one.
    """
    known = catalogue()
    require_known("notebook", [stem], known)
    require(timeout > 0, "timeout", timeout, "give a number of seconds > 0")
    parameters = parameters_of.read_all(known[stem], parameters)
    require(importlib.util.find_spec("papermill") is not None, "notebook", stem, "install fedecho[notebooks] first")
    output_dir.mkdir(parents=True, exist_ok=True)
    final, partial = (output_dir.resolve() / f"{stem}{suffix}" for suffix in (".ipynb", ".partial.ipynb"))
    for old in (stamps.path_of(final), final, partial):
        old.unlink(missing_ok=True)
    made_from = stamps.source(known[stem], parameters)
    job = {"source": str(known[stem]), "partial": str(partial), "parameters": dict(parameters), "timeout": timeout}
    outcome = kernels.attempt(job, fork)
    if outcome["kind"] == "start":  # a busy machine; an error of a cell is never tried again
        outcome = kernels.attempt(job, fork)
    if outcome["kind"] != "done":
        raise NotebookError(f"{stem}: {outcome['message']}; see {partial}")
    partial.replace(final)
    stamps.write(final, made_from, outcome["touched"])
    return final
