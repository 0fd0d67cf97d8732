"""Worker processes that run calls for this process, many calls each; they end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Self, TypeVar

from fedecho.core.processes import ENDING, GRACE, LIMIT, asked, end_with_parent, leave, softly
from fedecho.core.provenance import cores

K = TypeVar("K")
MOST = 61 if sys.platform == "win32" else 1000
"""Maximum number of workers: Windows can wait for 63 pipes at once, of which a few are not ours."""
_UNGUARDED = 70
"""Exit code of a worker that would start workers while it imports the main script (no `__main__` guard)."""


class WorkerDied(RuntimeError):
    """A worker ended without returning a result; the message says what it was working on."""

    def __init__(self, about: str, exitcode: int | None) -> None:
        """Take what it was at and how it ended."""
        super().__init__(f"{about}: {_cause(exitcode)}")


def _cause(exitcode: int | None) -> str:
    if exitcode is None:
        return "its process or machine ended without a word"
    if exitcode >= 0:
        return f"its process ended with code {exitcode}"
    name = signal.Signals(-exitcode).name
    likely = ", most likely because memory ran out: run fewer at a time with --jobs" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{likely}"


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    line: Connection


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Block Ctrl-C in processes started inside, even while they import; only the parent handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers(Generic[K]):
    """A pool of reusable worker processes; each runs one call at a time, identified by a key.

    Leaving the `with` block closes them; leaving it by an exception stops them.
    """

    def __init__(self, prepare: Callable[[], None], about: Callable[[K], str] = str) -> None:
        """Set up workers that each call `prepare` once; `about` describes a key's call if its worker dies."""
        self._prepare, self._about = prepare, about
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, K]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End."""
        if kind is not None or self._busy:
            self.stop()
        self._close()

    @property
    def busy(self) -> list[K]:
        """The keys of the calls that have not ended."""
        return [key for _, key in self._busy.values()]

    @property
    def slots(self) -> int:
        """Calls that there is room for at a time: one per core."""
        return cores()

    def start(self, key: K, call: Callable[..., Any], *arguments: Any) -> None:
        """Run a call in an idle worker, or in a new one."""
        while self._idle and not self._idle[-1].process.is_alive():
            self._idle.pop()
        worker = self._idle.pop() if self._idle else self._new()
        self._busy[worker.line] = worker, key
        worker.line.send((call, arguments))

    def _new(self) -> _Worker:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            sys.exit(_UNGUARDED)  # without a word: the parent has one
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,))
        with _without_interrupt():
            process.start()
        theirs.close()
        ours.send(self._prepare)  # sent later, so that its imports come after `end_with_parent`
        return _Worker(process, ours)

    def ended(self, timeout: float | None = None) -> list[tuple[K, Any]]:
        """Wait until a call ends, at most `timeout` seconds; return the keys and results of all that ended.

        Raises what a call raised, or `WorkerDied`.
        """
        return [self._outcome(*self._busy.pop(line)) for line in wait(list(self._busy), timeout)]  # type: ignore[call-overload]

    def _outcome(self, worker: _Worker, key: K) -> tuple[K, Any]:
        try:
            done, value = worker.line.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            if worker.process.exitcode == _UNGUARDED:  # the workers import it to find what they are to do
                words = "starts processes that import it first: put what it does below `if __name__ == '__main__':`"
                raise SystemExit(f"fedecho: {sys.argv[0]} {words}") from None
            raise WorkerDied(self._about(key), worker.process.exitcode) from None
        self._idle.append(worker)
        if not done:
            raise value
        return key, value

    def each(self, tasks: Iterable[tuple[K, Callable[..., Any], tuple[Any, ...]]], count: int) -> Iterator[Any]:
        """Run tasks (key, call, arguments), `count` at a time (at most `MOST`), and yield (key, result) pairs."""
        left, count = list(tasks)[::-1], min(count, MOST)
        while left or self._busy:
            while left and len(self._busy) < count:
                key, call, arguments = left.pop()
                self.start(key, call, *arguments)
            yield from self.ended()

    def stop(self) -> None:
        """Stop all workers; busy ones have `GRACE` seconds to save their progress."""
        everyone = [*self._idle, *(worker for worker, _ in self._busy.values())]
        for worker in everyone:
            worker.process.terminate()
        self._join(everyone, GRACE + 0.3)
        self._idle, self._busy = [], {}

    def _close(self) -> None:
        everyone, self._idle = self._idle, []
        for worker in everyone:
            worker.line.close()
        self._join(everyone, LIMIT)

    def _join(self, workers: Iterable[_Worker], seconds: float) -> None:
        end = time.monotonic() + seconds
        for worker in workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.line.close()


def _serve(line: Connection) -> None:
    """Run the calls received over the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDING:  # between calls the system ends it at once, even in the middle of an import
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
    with suppress(EOFError, ConnectionError):
        line.recv()()
        while asked() is None:
            call, arguments = line.recv()
            with softly():
                answer = _answer(call, arguments)
            line.send(answer)
    number = asked()
    leave(0 if number is None else 128 + number)


def _answer(call: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, call(*arguments)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return False, error
