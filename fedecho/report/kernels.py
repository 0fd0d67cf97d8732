"""Runs one notebook with papermill, in a process and a Jupyter home of its own, and says how it went."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedecho.report import stamps
from fedecho.report.nursery import Nursery

_START_LIMIT = 60
_WORK = "fedecho.report.kernels:work"
_CHILD = "import sys; from fedecho.report.kernels import work; work(sys.stdin.read())"


def attempt(job: dict[str, Any], nursery: Nursery | None = None) -> dict[str, Any]:
    """Run one process in a Jupyter home of its own, and return how it went (kind and message) and what it `touched`.

    It is forked in the `nursery`, or else started anew.
    """
    with tempfile.TemporaryDirectory(prefix="fedecho-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        _furnish(home)
        result = home / "result.json"
        text, limit = json.dumps({**job, "result": str(result)}), job["timeout"] + _START_LIMIT
        if nursery is None:
            ended = _wait(text, _environment(home), limit)
        else:
            ended = nursery.run(_WORK, text, _environment(home), limit)
        if not result.is_file():
            return {
                "kind": "lost",
                "message": f"TimeoutError: not finished after {job['timeout']} s"
                if ended is None
                else f"the process that ran it ended with code {ended}",
            }
        outcome: dict[str, Any] = json.loads(result.read_text())
        python = home / "executable"
        if outcome["kind"] == "done" and python.read_text() != sys.executable:
            return {"kind": "kernel", "message": f"it ran under {python.read_text()}, not {sys.executable}"}
        return {**outcome, "touched": stamps.touched(home / "touched")}


def _furnish(home: Path) -> None:
    """Write the one kernel that can be found, this interpreter, into `home`, to note who it is and what it opens."""
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
    # Expressions, so that no name is left behind that a notebook might use without importing it.
    note = f"__import__('pathlib').Path({str(home / 'executable')!r}).write_text(__import__('sys').executable)\n"
    note += f"__import__('importlib').import_module('fedecho.report.stamps').trace({str(home / 'touched')!r})\n"
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
    # A log gets a line now and then rather than a moving bar.
    calm = {} if sys.stderr.isatty() else {"TQDM_MININTERVAL": "30"}
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {**calm, **os.environ, **absolute, **backend}


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


def work(text: str) -> None:
    """Do a job and write how it went; what cells print to stderr, bars above all, is shown live."""
    import papermill  # type: ignore[import-untyped]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception, so that the kernel is stopped on the way out
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it does not know parameters annotated with `|`
    job = json.loads(text)
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
