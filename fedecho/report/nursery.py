"""A process that has imported what notebooks import, and forks for each the process that runs it and its kernel.

Imports are most of what a notebook costs whose records are at hand. A kernel that is forked finds them done and is
otherwise as fresh as a new one: the process it comes from runs no cell and opens no record.

Linux only: elsewhere a forked process must not use all libraries, and `pidfd_open` is missing.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from fedecho.report.forked import ForkedKernel, leave, settle

_PATIENCE = 10
"""Seconds that a process has to stop its kernel before it is killed."""
_NEW_OBJECTS = 50_000
"""Between two collections: figures are made of many objects and few circles."""
_SERVE = "from fedecho.report.nursery import _serve; _serve()"


def usable() -> bool:
    """Tell whether this system can do what a nursery does."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return sys.platform == "linux"


class Nursery:
    """The process from which others are forked, started when it is first needed.

    `modules` are imported there, in `environment`: some look into it as they are imported.
    """

    def __init__(self, modules: Iterable[str], environment: Mapping[str, str]) -> None:
        """Start nothing yet."""
        self._modules, self._environment = list(modules), dict(environment)
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, work: str, text: str, environment: Mapping[str, str], limit: float) -> int | None:
        """Call the function `work` ("module:name") with `text` in a process of its own; return that one's exit code.

        None = it had to be stopped after `limit` seconds.
        """
        with self._line() as line, line.makefile() as replies:
            job = {"work": work, "text": text, "environment": dict(environment)}
            line.sendall(json.dumps(job).encode() + b"\n")
            line.settimeout(limit)
            try:
                return int(replies.readline() or -signal.SIGKILL)
            except BaseException as error:
                self._stop(line)
                if isinstance(error, TimeoutError):
                    return None
                raise

    def _line(self) -> socket.socket:
        """Have a process forked and return the line to it."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._started(), [b"."], [theirs.fileno()])
        return ours

    @staticmethod
    def _stop(line: socket.socket) -> None:
        line.shutdown(socket.SHUT_WR)  # the other side sees the end and stops its work
        line.settimeout(2 * _PATIENCE)
        with contextlib.suppress(OSError):
            while line.recv(100):
                pass

    def _started(self) -> socket.socket:
        if self._control is None:
            command = [sys.executable, "-c", _SERVE, *self._modules]
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=self._environment)
        return self._control

    def close(self) -> None:
        """End the process, if it was started; those that it forked end by themselves."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()


def _serve() -> NoReturn:
    """Import what the command line names, then fork for each line that comes in, until no more can come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those that work
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with _as_in_a_kernel():
        for name in sys.argv[1:]:
            with contextlib.suppress(Exception):  # the notebook will say what is wrong with it
                importlib.import_module(name)
    _spare_the_collector()
    while (received := socket.recv_fds(control, 1, 1))[0]:
        (descriptor,) = received[1]
        if os.fork() == 0:
            control.close()
            _supervise(socket.socket(fileno=descriptor))
        os.close(descriptor)
        _reap(os.WNOHANG)
    _reap(0)
    os._exit(0)


@contextlib.contextmanager
def _as_in_a_kernel() -> Iterator[None]:
    """Say yes to what asks, as it is imported, whether this is a kernel: pandas shows fewer columns elsewhere."""
    vars(builtins)["get_ipython"] = lambda: types.SimpleNamespace(kernel=None)
    try:
        yield
    finally:
        del vars(builtins)["get_ipython"]


def _spare_the_collector() -> None:
    """Keep Python from looking through all that was imported again and again, a tenth of the time in a kernel."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _reap(options: int) -> None:
    """Take note of the children that have ended; else the time that they took would be counted nowhere."""
    with contextlib.suppress(ChildProcessError):  # there are none left
        while os.waitpid(-1, options)[0]:
            pass


def _supervise(line: socket.socket) -> NoReturn:
    """Do the job that comes over the line in a child, and say its exit code; stop it when the line is closed."""
    job = json.loads(line.makefile().readline())
    child = os.fork()
    if child == 0:
        line.close()
        leave(lambda: _work(job))
    handle = os.pidfd_open(child)
    if handle not in select.select([line.fileno(), handle], [], [])[0]:
        os.kill(child, signal.SIGTERM)
        if not select.select([handle], [], [], _PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):  # nobody waits any more
        line.sendall(f"{code}\n".encode())
    os._exit(0)


def _work(job: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settle(job["environment"])
    ForkedKernel().be_the_one_launched()
    module, _, name = job["work"].partition(":")
    getattr(importlib.import_module(module), name)(job["text"])
