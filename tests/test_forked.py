"""A forked kernel does its work, looks like one that was started, and is stopped when it is to be."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.report import kernels, notebooks
from fedecho.report.notebooks import NotebookError
from tests.test_notebooks import cells, tiny

pytestmark = pytest.mark.skipif(not kernels.FORK, reason="only Linux can")


def ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_time_limit_stops_the_kernel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process in between is stopped, not killed: it takes its kernel along."""
    note = tmp_path / "pid"
    code = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    source = tiny(tmp_path, "rounds = 1", code)
    monkeypatch.setattr(kernels, "_START_LIMIT", 0)
    job = {"source": str(source), "partial": str(tmp_path / "p.ipynb"), "parameters": {}, "timeout": 5}
    outcome = kernels.attempt(job, fork=True)
    assert outcome["message"].startswith(("TimeoutError: not finished", "cell [2] failed: CellTimeoutError"))
    assert ended(int(note.read_text()))


def test_a_kernel_that_is_forked_is_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    monkeypatch.setenv("FEDECHO_PAPER", "here")
    monkeypatch.chdir(tmp_path)
    probe = (
        "[sys.executable, os.getcwd(), rounds, os.environ['FEDECHO_PAPER'], os.environ['MPLBACKEND'], 'left' in dir()]"
    )
    tiny(tmp_path, "rounds = 1", "import os, sys", probe, "left = 1", stem="tiny")
    seen = [
        sys.executable,
        str(tmp_path),
        7,
        str(tmp_path / "here"),
        "module://matplotlib_inline.backend_inline",
        False,
    ]
    for _ in range(2):
        done = notebooks.execute("tiny", {"rounds": 7}, tmp_path / "out", 60, True)
        assert ast.literal_eval("".join(cells(done, "code")[3]["outputs"][0]["data"]["text/plain"])) == seen


PROBE = """
import builtins, json, os, signal, sys, threading
import matplotlib, pandas
print(json.dumps({
    "path": sys.path, "names": sorted(dir()), "builtins": sorted(vars(builtins)), "environment": sorted(os.environ),
    "signals": {str(s): str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)},
    "columns": pandas.get_option("display.max_columns"), "backend": matplotlib.get_backend(auto_select=False),
    "threads": sorted(type(t).__name__ for t in threading.enumerate()), "leader": os.getsid(0) == os.getpid(),
}))
"""


@pytest.mark.slow
def test_one_that_is_forked_looks_like_one_that_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    tiny(tmp_path, "rounds = 1", PROBE, stem="tiny")
    looks = []
    for fork in (False, True):
        done = notebooks.execute("tiny", {}, tmp_path / "out", 60, fork)
        looks.append(json.loads("".join(cells(done, "code")[-1]["outputs"][0]["text"])))
    assert looks[0] == looks[1]


@pytest.mark.slow
def test_one_that_dies_or_fails_takes_no_other_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    tiny(tmp_path, "rounds = 1", "import os, time\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)", stem="dies")
    tiny(tmp_path, "rounds = 1", "1 / 0", stem="fails")
    tiny(tmp_path, "rounds = 1", "import time\ntime.sleep(2)", stem="lives")
    with ThreadPoolExecutor(3) as pool:
        runs = {
            stem: pool.submit(notebooks.execute, stem, {}, tmp_path / "out", 60, True)
            for stem in ("dies", "fails", "lives")
        }
    with pytest.raises(NotebookError, match=r"^dies: cell \[2\] failed: DeadKernelError: "):
        runs["dies"].result()
    with pytest.raises(
        NotebookError, match=r"^fails: cell \[2\] failed: ZeroDivisionError: division by zero; see .*part"
    ):
        runs["fails"].result()
    assert runs["lives"].result() == tmp_path / "out" / "lives.ipynb"


INTERRUPTED = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
from fedecho.core import files
from fedecho.report import notebooks
files.notebooks = lambda: Path.cwd() / "notebooks"
list(notebooks.make(jobs=2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_kernels_end_with_whoever_wanted_them(tmp_path: Path, number: int) -> None:
    (tmp_path / "notebooks").mkdir()
    notes = [tmp_path / f"pid{k}" for k in range(2)]
    for k, note in enumerate(notes):
        code = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
        tiny(tmp_path / "notebooks", "rounds = 1", code, stem=f"{k}")
    environment = os.environ | {"FEDECHO_PAPER": str(tmp_path)}
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and not all(note.is_file() and note.read_text() for note in notes):
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()[1].decode()
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=60)
    # 1: the end of a kernel, which had Ctrl-C too, was noticed before Ctrl-C itself.
    assert process.returncode in (-number, 1), errors.decode()
    assert all(ended(int(note.read_text())) for note in notes)
    assert [path for path in (tmp_path / "executed").glob("*.ipynb") if ".partial" not in path.name] == []
