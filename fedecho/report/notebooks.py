"""Runs a notebook as one runs a command: checked parameters, this interpreter, and an output that is whole or absent.

papermill does the executing, in a process of its own per notebook. What it would let pass is refused here: a misspelt
or mistyped parameter, a kernel of another Python, a wait without end, a failed run that looks like a finished one.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.core.provenance import cores
from fedecho.report import parameters as parameters_of

GROUPS = {
    "quickstart": ("00_quickstart",),
    "algorithm": ("01_algorithm_step_by_step",),
    "tuning": ("02_tuning",),
    "vision": ("10_table_vision",),
    "language": ("11_table_language", "13_table_generation", "28_bank_compression"),
    "generation": ("13_table_generation", "28_bank_compression"),
    "unlabeled": ("12_table_unlabeled",),
    "cifar": ("14_table_cifar",),
    "ablations": (
        "20_ablation_alpha",
        "21_ablation_nu",
        "22_ablation_data_size",
        "23_ablation_delay",
        "24_heterogeneity_buffer",
    ),
    "cost": ("25_server_cost",),
    "controls": ("26_controls", "27_sensitivity"),
    "theory": ("30_theory_convex", "31_theory_nonconvex", "32_theory_arrivals", "33_theory_distillation"),
}
"""What `ONLY=` understands besides the names of the notebooks themselves."""

_LIMITS = {"smoke": 600, "laptop": 8 * 3600, "paper": 3600}
"""Seconds that a notebook may take when nothing has been run yet; at the paper's scale none trains."""
_START_LIMIT = 60
_CHILD = "from fedecho.report.notebooks import _child; _child()"


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names the cell, the error and the partial output."""


def catalogue() -> dict[str, Path]:
    """Return every notebook by its stem, in reading order."""
    return {path.stem: path for path in sorted(files.notebooks().glob("*.ipynb"))}


def select(only: str = "all") -> list[str]:
    """Return the stems that `only` asks for, in reading order: all, a group, or one notebook by its stem."""
    known = list(catalogue())
    require(only in ("all", *GROUPS, *known), "only", only, f"choose one of all, {', '.join([*GROUPS, *known])}")
    return known if only == "all" else list(GROUPS.get(only, (only,)))


_ALONE = ("25_server_cost",)
"""Notebooks that measure time."""
_TRAIN_THEMSELVES = ("00_quickstart", "01_algorithm_step_by_step", "25_server_cost", *GROUPS["theory"])


def make(profile: str = "laptop", only: str = "all", fresh: bool = False, jobs: int | None = None) -> Iterator[Path]:
    """Execute the notebooks that `only` asks for and yield the copies in `paper/executed`, in reading order.

    As many run at a time as there are `jobs` (none = cores), those that measure time after the others and alone. Their
    runs are best trained before (`plan.train_all`); `fresh` is for what only a notebook itself can make again.
    """
    folder = files.paper() / "executed" / ("" if profile == "laptop" else profile)
    limit = _LIMITS.get(profile, max(_LIMITS.values()))

    def make_one(stem: str) -> Path:
        wanted = {"profile": profile, "fresh": fresh and stem in _TRAIN_THEMSELVES, "jobs": jobs or 0}
        known = parameters_of.declared(catalogue()[stem])
        return execute(stem, {name: value for name, value in wanted.items() if name in known}, folder, limit)

    stems = [stem for stem in select(only) if left_out(stem, profile) is None]
    together = [stem for stem in stems if stem not in _ALONE]
    pool = ThreadPoolExecutor(jobs or cores())
    try:
        yield from pool.map(make_one, together)
    finally:
        pool.shutdown(cancel_futures=True)
    yield from (make_one(stem) for stem in stems if stem in _ALONE)


def left_out(stem: str, profile: str) -> str | None:
    """Say why a notebook is not executed at a profile, none if it is: tables never start days of training."""
    if profile != "paper" or stem not in _TRAIN_THEMSELVES or stem in GROUPS["theory"]:
        return None
    return f"{stem}: it trains or measures the paper's scale itself and is left out; open it in JupyterLab to run it"


def execute(stem: str, parameters: Mapping[str, object], output_dir: Path, timeout: int) -> Path:
    """Run the notebook `stem` and return its executed copy, `output_dir/<stem>.ipynb`.

    `timeout` is the limit in seconds for the whole notebook. Raises `InputError` before anything starts, or
    `NotebookError`; a failed run leaves `<stem>.partial.ipynb` and no executed copy, not even an older one.
    """
    known = catalogue()
    require(stem in known, "notebook", stem, f"choose one of {', '.join(known)}")
    require(timeout > 0, "timeout", timeout, "give a number of seconds > 0")
    parameters = parameters_of.read_all(known[stem], parameters)
    require(importlib.util.find_spec("papermill") is not None, "notebook", stem, "install fedecho[notebooks] first")
    output_dir.mkdir(parents=True, exist_ok=True)
    final, partial = (output_dir.resolve() / f"{stem}{suffix}" for suffix in (".ipynb", ".partial.ipynb"))
    for old in (final, partial):
        old.unlink(missing_ok=True)
    job = {"source": str(known[stem]), "partial": str(partial), "parameters": dict(parameters), "timeout": timeout}
    outcome = _attempt(job)
    if outcome["kind"] == "start":  # a busy machine; an error of a cell is never tried again
        outcome = _attempt(job)
    if outcome["kind"] != "done":
        raise NotebookError(f"{stem}: {outcome['message']}; see {partial}")
    return partial.replace(final)


def _attempt(job: dict[str, Any]) -> dict[str, str]:
    """Run one child process in a Jupyter home of its own, and return how it went."""
    with tempfile.TemporaryDirectory(prefix="fedecho-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        _furnish(home)
        result = home / "result.json"
        ended = _wait(json.dumps({**job, "result": str(result)}), _environment(home), job["timeout"] + _START_LIMIT)
        if not result.is_file():
            return {
                "kind": "lost",
                "message": f"TimeoutError: not finished after {job['timeout']} s"
                if ended is None
                else f"the process that ran it ended with code {ended}",
            }
        outcome: dict[str, str] = json.loads(result.read_text())
        python = home / "executable"
        if outcome["kind"] == "done" and python.read_text() != sys.executable:
            return {"kind": "kernel", "message": f"it ran under {python.read_text()}, not {sys.executable}"}
        return outcome


def _furnish(home: Path) -> None:
    """Write the one kernel that can be found, this interpreter, and a note of who it is into `home`."""
    kernel, startup = home / "kernels" / "python3", home / "ipython" / "profile_default" / "startup"
    command = [
        sys.executable,
        "-Xfrozen_modules=off",
        "-m",
        "ipykernel_launcher",
        "--IPKernelApp.log_level=40",
        "-f",
        "{connection_file}",
    ]
    for folder in (kernel, startup):
        folder.mkdir(parents=True)
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    # An expression, so that no name is left behind that a notebook might use without importing it.
    note = f"__import__('pathlib').Path({str(home / 'executable')!r}).write_text(__import__('sys').executable)\n"
    (startup / "executable.py").write_text(note)


def _environment(home: Path) -> dict[str, str]:
    """Return the child's environment: nothing of the user's Jupyter, and paths that hold in any folder."""
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # Agg would show no figure
    folders = {name: str(Path(kept[name]).absolute()) for name in ("FEDECHO_PAPER", "FEDECHO_DATA") if kept.get(name)}
    if not sys.stderr.isatty():
        kept.setdefault("TQDM_MININTERVAL", "30")  # a log gets a line now and then rather than a moving bar
    return (
        kept
        | folders
        | {
            "JUPYTER_PATH": str(home),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "IPYTHONDIR": str(home / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
    )


def _wait(job: str, environment: dict[str, str], limit: float) -> int | None:
    """Return the child's exit code, or none if it had to be stopped after `limit` seconds."""
    command = [sys.executable, "-c", _CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True) as process:
        try:
            process.communicate(job, timeout=limit)
        except BaseException as error:
            process.terminate()  # on SIGTERM the child stops its kernel, and the kernel's workers with it
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
        return process.returncode


def _child() -> None:
    """Do the job on standard input and write how it went; what cells print to stderr, bars above all, is shown live."""
    import papermill  # type: ignore[import-untyped]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception, so that the kernel is stopped on the way out
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it does not know parameters annotated with `|`
    job = json.load(sys.stdin)
    outcome = {"kind": "done", "message": ""}
    try:
        papermill.execute_notebook(
            job["source"],
            job["partial"],
            job["parameters"],
            kernel_name="python3",
            progress_bar=False,
            cwd=str(Path(job["source"]).parent),
            start_timeout=_START_LIMIT,
            execution_timeout=job["timeout"],
            stderr_file=sys.stderr,
            coalesce_streams=True,
            shutdown_kernel="immediate",
        )
    except Exception as error:
        outcome = _failure(error, Path(job["partial"]))
    Path(job["result"]).write_text(json.dumps(outcome))


def _failure(error: Exception, partial: Path) -> dict[str, str]:
    """Put an exception of papermill, nbclient or jupyter_client into one line."""
    if isinstance(error, RuntimeError) and str(error).startswith(("Kernel died before", "Kernel didn't respond")):
        return {"kind": "start", "message": f"the kernel did not start ({error})"}
    name = getattr(error, "ename", type(error).__name__)
    text = str(getattr(error, "evalue", error)).strip().partition("\n")[0]
    return {"kind": "cell", "message": f"cell [{_reached(partial)}] failed: {name}: {text}"}


def _reached(partial: Path) -> int:
    """Return the number of the last code cell that was begun, counted as Jupyter shows it."""
    cells = json.loads(partial.read_text())["cells"] if partial.is_file() else []
    return sum(
        cell["cell_type"] == "code" and bool(cell["metadata"].get("papermill", {}).get("start_time")) for cell in cells
    )
