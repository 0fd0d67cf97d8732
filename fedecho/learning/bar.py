"""Progress over rounds or runs: a bar where someone sees it move, elsewhere a line now and then, as a log needs it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Generic, TypeVar

from tqdm import tqdm

from fedecho.core.records import Row
from fedecho.simulation.schedule import Round

T = TypeVar("T")
Wrap = Callable[[Iterable[Round]], Iterable[Round]]
CALM = {"TQDM_MININTERVAL": "30"}
"""What the environment of a notebook has that is executed into a log."""
SECONDS, SHARE = 30.0, 0.05
"""Between two lines are at least so many seconds and this share of the whole."""
_LINE = "{desc}{n_fmt} of {total_fmt} {unit}s ({percentage:.0f} %), {elapsed} so far, {remaining} to go{postfix}"


@contextmanager
def saying(what: str) -> Iterator[Callable[[], None]]:
    """Say on stderr what is done, where half a minute passes before the block ends or what it yields is called."""
    timer = threading.Timer(SECONDS, print, [f"{what} ..."], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


class Lines(Generic[T]):
    """Wraps what is worked off; writes lines to stderr, the last one once all is done."""

    def __init__(
        self, items: Iterable[T], total: int, unit: str, desc: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Take what tqdm takes, and a clock in seconds."""
        self._items, self._total, self._unit, self._desc, self._now = items, total, unit, desc, now
        self._postfix = ""

    def __iter__(self) -> Iterator[T]:
        """Yield the items."""
        began = said = self._now()
        told = 0
        for done, item in enumerate(self._items, 1):
            yield item
            due = (now := self._now()) - said >= SECONDS and done - told >= SHARE * self._total
            if due or done == self._total:
                said, told = now, done
                print(self._line(done, now - began), file=sys.stderr, flush=True)

    def set_postfix(self, **values: str) -> None:
        """Take what the next line ends with."""
        self._postfix = ", ".join(f"{name}={value}" for name, value in values.items())

    def _line(self, done: int, seconds: float) -> str:
        return tqdm.format_meter(
            done,
            self._total,
            seconds,
            prefix=f"{self._desc}: " if self._desc else "",
            unit=self._unit,
            postfix=self._postfix,
            bar_format=_LINE,
        )


def watched() -> bool:
    """Tell whether someone sees what moves on stderr: at a terminal, or in a notebook that is open."""
    opened = type(sys.stderr).__module__.startswith("ipykernel") and not CALM.keys() & os.environ.keys()
    return opened or sys.stderr.isatty()


def bar(items: Iterable[T], total: int | None = None, unit: str = "round", desc: str = "") -> tqdm[T] | Lines[T]:
    """Return `items` in a bar of tqdm's, or in lines where nobody watches; `total` is needed for what has no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if total is None or watched():
        return tqdm(items, total=total, unit=unit, desc=desc or None, smoothing=0.05)
    return Lines(items, total, unit, desc)


class Bar:
    """Wraps the rounds of one run, and is told of each evaluation."""

    _shown: tqdm[Round] | Lines[Round]

    def rounds(self, rounds: Iterable[Round]) -> Iterable[Round]:
        """Return the rounds in a bar."""
        self._shown = bar(rounds)
        return self._shown

    def row(self, row: Row) -> None:
        """Show an evaluation."""
        self._shown.set_postfix(accuracy=f"{100 * row['accuracy']:.1f} %")


def shown(on_row: Callable[[Row], None], progress: Wrap | bool) -> tuple[Callable[[Row], None], Wrap]:
    """Return the callback for evaluation rows and the wrapper of the rounds; a progress bar is both."""
    if callable(progress):
        return on_row, progress
    if not progress:
        return on_row, iter
    bar = Bar()

    def both(row: Row) -> None:
        bar.row(row)
        on_row(row)

    return both, bar.rounds
