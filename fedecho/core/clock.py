"""Seconds by phase of a run, kept apart from its rows because no two runs take equally long."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds spent in named phases; time in an inner phase is not charged to the outer one."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Start with no phase; `now` tells the time in seconds, by default the wall clock's."""
        self._now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the time spent inside the `with` block to `phase`."""
        begin = self._now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = self._now() - begin
            self.seconds[phase] += elapsed - self._inner.pop()
            self._inner[-1] += elapsed

    def phases(self) -> dict[str, float]:
        """Return the seconds by phase, to hundredths."""
        return {phase: round(seconds, 2) for phase, seconds in sorted(self.seconds.items())}
