"""What is forked does its work, leaves no trace in what comes after, and is stopped when it is to be."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.report import kernels, notebooks
from fedecho.report.notebooks import NotebookError
from fedecho.report.nursery import Nursery, usable
from tests.test_notebooks import cells, tiny

pytestmark = pytest.mark.skipif(not usable(), reason="only Linux can")
DO = "builtins:exec"
MODULES = ["papermill", "ipykernel.kernelapp", "ipykernel.zmqshell", "matplotlib", "pandas", "no.such"]
ENVIRONMENT = dict(os.environ)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(
        ["papermill", "ipykernel.kernelapp", "ipykernel.zmqshell", "matplotlib", "pandas", "no.such"],
        kernels.environment(),
    )
    assert do(made, "pass", limit=120) == 0  # its own start counts in nobody's limit
    yield made
    made.close()


def do(nursery: Nursery, code: str, limit: float = 30, **environment: str) -> int | None:
    return nursery.run(DO, code, ENVIRONMENT | environment, limit)


def ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("code, expected", [
    ("pass", 0), ("raise SystemExit", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('words')", 1), ("1 / 0", 1),
    ("import os; os.kill(os.getpid(), 9)", -9), ("import os; os._exit(5)", 5),
])  # fmt: skip
def test_returns_the_exit_code(nursery: Nursery, code: str, expected: int) -> None:
    assert do(nursery, code) == expected


def test_each_starts_from_the_same(nursery: Nursery) -> None:
    assert do(nursery, "import sys; assert 'jupyter_client' in sys.modules and not hasattr(sys, 'left')") == 0
    assert do(nursery, "import sys, os; sys.left = 1; os.environ['LEFT'] = '1'; os.chdir('/')") == 0
    where = os.getcwd()
    assert do(nursery, f"import sys, os; assert not hasattr(sys, 'left') and os.getcwd() == {where!r}") == 0
    assert do(nursery, "import os; assert 'LEFT' not in os.environ and os.environ['ASKED'] == '2'", ASKED="2") == 0


def test_nothing_is_on_standard_input_and_python_is_ours(nursery: Nursery) -> None:
    assert do(nursery, f"import sys; assert sys.stdin.read() == '' and sys.executable == {sys.executable!r}") == 0


def test_several_at_a_time(nursery: Nursery, tmp_path: Path) -> None:
    def code(k: int) -> str:  # ends when all four are there
        here = f"import pathlib, time; at = pathlib.Path({str(tmp_path)!r}); (at / '{k}').touch()"
        return f"{here}\nwhile len(list(at.iterdir())) < 4: time.sleep(0.01)\nraise SystemExit({k})"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: do(nursery, code(k), limit=120), range(4))) == [0, 1, 2, 3]


def test_is_stopped_at_the_limit_and_cleans_up(nursery: Nursery, tmp_path: Path) -> None:
    note, last = tmp_path / "pid", tmp_path / "last"
    code = f"""
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
pathlib.Path({str(note)!r}).write_text(str(os.getpid()))
try:
    time.sleep(60)
finally:
    pathlib.Path({str(last)!r}).touch()
"""
    assert do(nursery, code, limit=8) is None
    assert ended(int(note.read_text()))
    assert last.exists()
    assert do(nursery, "pass") == 0


def test_ends_with_all_that_it_forked(tmp_path: Path) -> None:
    made, note = Nursery([], ENVIRONMENT), tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(do, made, code, 8)
        assert job.result() is None
    made.close()
    assert ended(int(note.read_text()))
    assert made._process is not None and made._process.returncode == 0


def test_that_was_never_needed_starts_nothing() -> None:
    made = Nursery(["torch"], ENVIRONMENT)
    made.close()
    assert made._process is None


def test_time_limit_stops_the_kernel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery) -> None:
    """The process in between is stopped, not killed: it takes its kernel along."""
    note = tmp_path / "pid"
    code = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    source = tiny(tmp_path, "rounds = 1", code)
    monkeypatch.setattr(kernels, "_START_LIMIT", 0)
    job = {"source": str(source), "partial": str(tmp_path / "p.ipynb"), "parameters": {}, "timeout": 5}
    outcome = kernels.attempt(job, nursery)
    assert outcome["message"].startswith(("TimeoutError: not finished", "cell [2] failed: CellTimeoutError"))
    assert ended(int(note.read_text()))


def test_a_kernel_that_is_forked_is_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery) -> None:
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
        done = notebooks.execute("tiny", {"rounds": 7}, tmp_path / "out", 60, nursery)
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


def test_one_that_is_forked_looks_like_one_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery
) -> None:
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    tiny(tmp_path, "rounds = 1", PROBE, stem="tiny")
    looks = []
    for within in (None, nursery):
        done = notebooks.execute("tiny", {}, tmp_path / "out", 60, within)
        looks.append(json.loads("".join(cells(done, "code")[-1]["outputs"][0]["text"])))
    assert looks[0] == looks[1]


def test_one_that_dies_or_fails_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery
) -> None:
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    tiny(tmp_path, "rounds = 1", "import os, time\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)", stem="dies")
    tiny(tmp_path, "rounds = 1", "1 / 0", stem="fails")
    tiny(tmp_path, "rounds = 1", "import time\ntime.sleep(2)", stem="lives")
    with ThreadPoolExecutor(3) as pool:
        runs = {
            stem: pool.submit(notebooks.execute, stem, {}, tmp_path / "out", 60, nursery)
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
import sys
from pathlib import Path
from fedecho.core import files
from fedecho.report import notebooks
files.notebooks = lambda: Path.cwd() / "notebooks"
list(notebooks.make(jobs=2))
"""


def test_ctrl_c_stops_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    notes = [tmp_path / f"pid{k}" for k in range(2)]
    for k, note in enumerate(notes):
        code = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
        tiny(tmp_path / "notebooks", "rounds = 1", code, stem=f"{k}")
    environment = ENVIRONMENT | {"FEDECHO_PAPER": str(tmp_path)}
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and not all(note.is_file() and note.read_text() for note in notes):
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()[1].decode()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    # 1: the end of a kernel, which had the signal too, was noticed before the signal itself.
    assert process.returncode in (-signal.SIGINT, 1), errors.decode()
    assert all(ended(int(note.read_text())) for note in notes)
    assert [path for path in (tmp_path / "executed").glob("*.ipynb") if ".partial" not in path.name] == []
