"""Runs one notebook with papermill, in a process and a Jupyter home of its own, and says how it went."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fedecho.core import processes
from fedecho.learning.bar import CALM
from fedecho.report import stamps
from fedecho.report.forked import PATIENCE, kernel_at_hand, settle

_START_LIMIT = 60
FORK = sys.platform == "linux"
"""Whether notebooks can be forked from a process that has done their imports: elsewhere not all libraries allow it."""


def attempt(job: dict[str, Any], fork: bool = False) -> dict[str, Any]:
    """Run one notebook in a process and a Jupyter home of its own; return how it went (kind and message) and what it
    `touched`. With `fork`, process and kernel find their imports done (`preload`)."""
    context: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
    if fork:
        context.set_forkserver_preload(["fedecho.report.preload"])
    with tempfile.TemporaryDirectory(prefix="fedecho-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        _furnish(home)
        result = home / "result.json"
        process = context.Process(target=work, args=(job, _environment(home), result, fork))
        process.start()
        _RUNNING.add(process)
        try:
            late = _wait(process, job["timeout"] + _START_LIMIT)
        finally:
            _RUNNING.discard(process)
        if not result.is_file():
            why = f"TimeoutError: not finished after {job['timeout']} s"
            return {"kind": "lost", "message": why if late else f"its process ended with code {process.exitcode}"}
        return {**json.loads(result.read_text(encoding="utf-8")), "touched": stamps.touched(home / "touched")}


_PATIENCE = 1.0
"""Seconds that notebooks have to end where all is to end: they keep nothing."""
_RUNNING: set[multiprocessing.Process] = set()


def stop_all() -> None:
    """Stop all notebooks that run in this process's name, their kernels with them."""
    for process in [*_RUNNING]:
        process.terminate()
    end = time.monotonic() + _PATIENCE
    while _RUNNING and time.monotonic() < end:  # whoever waits for one takes it off the list
        time.sleep(0.02)
    for process in [*_RUNNING]:
        process.kill()  # and its kernel ends with it


def _wait(process: multiprocessing.Process, limit: float) -> bool:
    """Wait for the end of a process; tell whether it had to be stopped after `limit` seconds."""
    try:
        process.join(limit)
    finally:
        late = process.is_alive()
        if late:
            process.terminate()  # on SIGTERM it stops its kernel, and the kernel's workers with it
            process.join(PATIENCE)
            process.kill()
            process.join()
    return late


def _furnish(home: Path) -> None:
    """Write the one kernel that can be found, this interpreter, into `home`; it notes what it opens."""
    kernel, startup = home / "kernels" / "python3", home / "ipython" / "profile_default" / "startup"
    options = "-Xfrozen_modules=off -m ipykernel_launcher --IPKernelApp.log_level=40 -f {connection_file}"
    for folder in (kernel, startup):
        folder.mkdir(parents=True)
    spec = {"argv": [sys.executable, *options.split()], "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    # An expression, so that no name is left behind that a notebook might use without importing it.
    module = "__import__('importlib').import_module"
    note = f"{module}('fedecho.report.stamps').trace({str(home / 'touched')!r})\n"
    note += f"{module}('fedecho.core.processes').end_with_parent({int(processes.AT_ONCE)})\n"
    (startup / "notes.py").write_text(note)


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of what runs a notebook: nothing of the user's Jupyter, and paths that hold anywhere."""
    # The kernel sets its own backend where none is set; Agg would show no figure.
    kept = {name: value for name, value in environment().items() if name != "MPLBACKEND"}
    return kept | {
        "JUPYTER_PATH": str(home),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(home / "ipython"),
    }


def environment() -> dict[str, str]:
    """Return the environment in which the modules are imported that a notebook finds imported."""
    folders = ("FEDECHO_PAPER", "FEDECHO_DATA")
    absolute = {name: str(Path(os.environ[name]).absolute()) for name in folders if os.environ.get(name)}
    calm = {} if sys.stderr.isatty() else CALM
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {**calm, **os.environ, **absolute, **backend}


def work(job: dict[str, Any], environment: dict[str, str], result: Path, fork: bool) -> None:
    """Do a job in `environment` and write how it went; this process does nothing else."""
    settle(environment)
    try:
        _work(job, result, fork)
    finally:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # else it tidies up
            shutil.rmtree(result.parent, ignore_errors=True)


def _work(job: dict[str, Any], result: Path, fork: bool) -> None:
    with kernel_at_hand() if fork else nullcontext():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
        signal.signal(signal.SIGTERM, _leave)
        processes.end_with_parent()  # of a forked process that is the server which forked it
        threading.Thread(target=_end_with_parent, args=(result.parent,), daemon=True).start()
        result.write_text(json.dumps(_executed(job)))


def _leave(*_: object) -> None:
    """Raise an exception: the kernel is stopped on the way out, which no second signal interrupts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _end_with_parent(home: Path) -> None:
    """Wait for the end of the process that asked for the notebook, then end, and leave nothing behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(processes.GRACE)
    shutil.rmtree(home, ignore_errors=True)
    os._exit(1)


def _executed(job: dict[str, Any]) -> dict[str, str]:
    """Let papermill execute a notebook; what cells print to stderr, bars above all, is shown live."""
    import papermill  # type: ignore[import-untyped]

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it does not know parameters annotated with `|`
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
        return _failure(error, Path(job["partial"]))
    return {"kind": "done", "message": ""}


def _failure(error: Exception, partial: Path) -> dict[str, str]:
    """Put an exception of papermill, nbclient or jupyter_client into one line."""
    if isinstance(error, RuntimeError) and str(error).startswith(("Kernel died before", "Kernel didn't respond")):
        return {"kind": "start", "message": f"the kernel did not start ({error})"}
    name = getattr(error, "ename", type(error).__name__)
    text = str(getattr(error, "evalue", error)).strip().partition("\n")[0]
    return {"kind": "cell", "message": f"cell [{_reached(partial)}] failed: {name}: {text}"}


def _reached(partial: Path) -> int:
    """Return the number of the last code cell that was begun, counted as Jupyter shows it."""
    cells = json.loads(partial.read_text(encoding="utf-8"))["cells"] if partial.is_file() else []
    return sum(
        cell["cell_type"] == "code" and bool(cell["metadata"].get("papermill", {}).get("start_time")) for cell in cells
    )
