"""Processes that end with whoever started them, and signals that let work end in order: what is done is kept.

SIGTERM and SIGHUP end a command within 5 s, with exit code 128 + n. Workers finish the round that they are in, write
their progress, and go; one whose parent was killed gets SIGTERM from the system.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

GRACE = 3.0
"""Seconds that a worker has to write its progress, once it was asked to end."""
LIMIT = 4.2
"""Seconds after which a command ends in any case."""
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
AT_ONCE = getattr(signal, "SIGKILL", signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal that asked for the end; one line, in a notebook too."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        """Take the signal's number."""
        name = signal.Signals(number).name
        kept = "records and checkpoints made so far are kept, and the same command without --fresh goes on"
        super().__init__(f"stopped ({name}); {kept}")
        self.code = 128 + number

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"fedecho: {self}"]


# Being asked to end

_asked: int | None = None


def asked() -> int | None:
    """Return the signal that asked this process to end as soon as what it does is kept; none so far."""
    return _asked


def _end_soon(number: int, _: FrameType | None = None) -> None:
    """Note that the end is wanted, and see to it if it does not come."""
    global _asked
    _asked = number
    _exit_after(GRACE, 128 + number)


def _raise(number: int, _: FrameType | None = None) -> None:
    _exit_after(LIMIT, 128 + number)
    for other in (*ENDING, signal.SIGINT):  # whoever is impatient still has SIGKILL
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def _exit_after(seconds: float, code: int) -> None:
    atexit.register(leave, code)
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()


def leave(code: int) -> NoReturn:
    """End this process with what it has said so far, and nothing else: to take down an interpreter that holds torch
    takes seconds of work, in which no timer goes off."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def stoppable() -> AbstractContextManager[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise `Stopped` inside; one that is ignored (nohup, a shell's background job)
    stays so. The process ends `LIMIT` seconds later whatever it does."""
    return _handling((*ENDING, signal.SIGINT), _raise)


def softly() -> AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP only be noted inside (`asked`); the process ends `GRACE` seconds later at most."""
    return _handling(ENDING, _end_soon)


@contextmanager
def _handling(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # the only one that can handle signals
        yield
        return
    kept = {number: signal.getsignal(number) for number in numbers}
    for number, before in kept.items():
        if before != signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in kept.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, before)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal once the one that started it ends, however it does."""
    parent = multiprocessing.parent_process()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        gone = os.getppid() == 1 if parent is None else not parent.is_alive()
        if gone:  # before it could be asked for
            os.kill(os.getpid(), number)
    elif parent is not None:
        threading.Thread(target=_signalled, args=(parent, number), daemon=True).start()


def _signalled(parent: Any, number: int) -> None:
    parent.join()  # a pipe that closes
    os.kill(os.getpid(), number)
