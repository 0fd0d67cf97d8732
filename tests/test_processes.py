"""Workers do their calls, say what they were at when they die, and end with whoever started them."""

from __future__ import annotations

import atexit
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedecho.core import files, processes, workers
from fedecho.core.processes import Stopped
from fedecho.core.workers import WorkerDied, Workers

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import atexit, sys, time
from pathlib import Path
from fedecho.core.processes import Stopped, stoppable
from fedecho.core.workers import Workers
from tests.test_processes import nothing, wait_for_the_end
if __name__ == "__main__":
    atexit.register(Path(sys.argv[1], "parent.taken_down").touch)
    try:
        with stoppable(), Workers(nothing) as pool:
            for _ in pool.each([(n, wait_for_the_end, (sys.argv[1], n)) for n in range(2)], 2):
                pass
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.code)
"""


def nothing() -> None: ...


def wait_for_the_end(folder: str, number: int) -> None:
    """Say that this worker is at work, go on until it is asked to end, and say that it kept what it had; it would say
    too that its interpreter is taken down."""
    atexit.register(Path(folder, f"{number}.taken_down").touch)
    files.write_whole(Path(folder) / f"{number}.begun", str(os.getpid()))
    while processes.asked() is None:
        time.sleep(0.01)
    (Path(folder) / f"{number}.kept").touch()


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return 2 * number


def end(number: int) -> None:
    if number > 0:
        os._exit(number)
    os.kill(os.getpid(), -number)


def heed() -> None:
    """Ignore no signal, whatever this process was started with."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def eventually(folder: Path, pattern: str, count: int) -> list[Path]:
    while len(found := list(folder.glob(pattern))) < count:
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_workers_do_what_they_are_given_and_serve_again() -> None:
    with Workers[int](nothing) as pool:
        assert sorted(pool.each([(n, double, (n,)) for n in range(5)], 2)) == [(n, 2 * n) for n in range(5)]
        assert len(pool._idle) == 2
        with pytest.raises(ValueError, match="-1 is below 0") as caught:
            list(pool.each([(0, double, (-1,))], 1))
        assert "in double" in caught.value.__notes__[0]  # where in the worker


@pytest.mark.parametrize(
    ("how", "words"),
    [(-signal.SIGKILL, "run 7: its process was ended by SIGKILL, most likely because memory ran out: run fewer at a"),
     (-signal.SIGSEGV, "run 7: its process was ended by SIGSEGV$"), (3, "run 7: its process ended with code 3")],
)  # fmt: skip
def test_a_worker_that_dies_says_what_it_was_at(how: int, words: str) -> None:
    with pytest.raises(WorkerDied, match=words), Workers[int](nothing, lambda key: f"run {key}") as pool:
        list(pool.each([(7, end, (how,))], 1))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed,
    )  # fmt: skip
    started = [int(path.read_text()) for path in eventually(tmp_path, "*.begun", 2)]
    parent.send_signal(number)
    said = parent.communicate(timeout=60)[1]
    eventually(tmp_path, "*.kept", 2)
    while any(map(alive, started)):
        time.sleep(0.02)
    assert list(tmp_path.glob("*.taken_down")) == []  # which takes seconds in which no timer goes off
    if number != signal.SIGKILL:
        assert parent.returncode == 128 + number
        assert said.strip().splitlines()[-1].startswith(f"stopped ({number.name}); records and checkpoints made so far")


UNGUARDED = """
from fedecho.core.workers import Workers
from tests.test_processes import double, nothing
with Workers(nothing) as pool:
    print(list(pool.each([(1, double, (1,)), (2, double, (2,))], 2)))
"""


def test_a_script_without_a_guard_gets_one_line_of_advice(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(UNGUARDED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    advice = "put what it does below `if __name__ == '__main__':`"
    assert ended.stderr == f"fedecho: {script} starts processes that import it first: {advice}\n"


def test_no_more_workers_than_the_platform_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST", 1)
    with Workers[int](nothing) as pool:
        assert sorted(pool.each([(n, double, (n,)) for n in range(3)], 3)) == [(n, 2 * n) for n in range(3)]
        assert len(pool._idle) == 1


def test_one_that_is_ignored_stays_so() -> None:
    """As under nohup, or in the background of a shell."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with processes.stoppable():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_stop_is_a_line_in_a_notebook_too() -> None:
    (line,) = Stopped(signal.SIGINT)._render_traceback_()
    assert line.startswith("fedecho: stopped (SIGINT); ") and "\n" not in line
    assert Stopped(signal.SIGTERM).code == 143 and isinstance(Stopped(), KeyboardInterrupt)


# Files that were being written


def test_what_the_dead_were_writing_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = tmp_path / "unfinished"
    folder.mkdir()
    stale = [folder / f"run.pt.{files._HOST}-{dead.pid}.partial", tmp_path / f"a.json.{dead.pid}.partial"]
    others = [
        files.partial_of(tmp_path / "b.json"),  # ours
        tmp_path / f"c.json.{'0' * 8}-{dead.pid}.partial",  # another machine's
        tmp_path / "archive.tar.partial",  # a download, which goes on
        tmp_path / f"e.{'9' * 20}.partial",  # no process has this number
        tmp_path / "d.json",
    ]
    for path in (*stale, *others):
        path.touch()
    assert sorted(files.sweep_up(tmp_path)) == sorted(stale)
    assert all(path.is_file() for path in others) and not any(path.exists() for path in stale)
    assert files.final_name(str(stale[0])) == str(folder / "run.pt")


@pytest.mark.parametrize("deep", [True, False])
def test_a_folder_of_the_users_is_swept_where_runs_write_alone(tmp_path: Path, deep: bool) -> None:
    """Records of a single run may be kept in any folder, one's home, say: what lies below it is not looked through."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = f"a.json.{files._HOST}-{dead.pid}.partial"
    places = [tmp_path / part / name for part in ("", "unfinished", "photographs", "unfinished/older")]
    for path in places:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert sorted(files.sweep_up(tmp_path, deep=deep)) == sorted(places if deep else places[:2])
    assert [path.exists() for path in places] == [False, False, not deep, not deep]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"'.*a.json'$") as caught:
            files.write_whole(tmp_path / "a.json", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and list(tmp_path.iterdir()) == []


def test_an_error_of_something_else_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError), files.whole(tmp_path / "a.json"):
        raise TimeoutError("a download")


@pytest.mark.skipif(sys.platform == "win32", reason="no process ends by a signal there")
def test_a_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback(tmp_path: Path) -> None:
    slow = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "tyro.py").write_text(slow)  # the first of the command's imports that is not Python's own
    whole = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    script = (  # whoever runs the tests may ignore Ctrl-C, and what is ignored is handed down
        "import runpy, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('fedecho', run_name='__main__')"
    )
    made = subprocess.run([sys.executable, "-c", script], env=whole, capture_output=True, text=True)
    assert (made.returncode, made.stdout, made.stderr) == (-signal.SIGINT, "", "")
