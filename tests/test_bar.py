"""Where someone watches there is a bar, in a log a line now and then."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import pytest

from fedecho.learning import bar as bars
from fedecho.learning.bar import Lines, bar, saying
from fedecho.studies import sweep
from tests.test_sweep import configs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Kernel(io.StringIO):
    """Stands for the stream of a notebook's kernel, which calls itself no terminal."""


Kernel.__module__ = "ipykernel.iostream"


def test_a_line_needs_half_a_minute_and_a_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    """40 items, a twentieth = 2; the clock is read at the start and after each item."""
    times = iter([0, 29, 30, 31, 59, 61, *range(62, 90), *range(90, 97)])  # due: 2 at 30 s; 5 at 61 s; 35 at 91 s; all
    shown = Lines(range(40), 40, "run", "here", lambda: next(times))
    shown.set_postfix(accuracy="4.0 %")
    assert list(shown) == [*range(40)]
    assert capsys.readouterr().err.splitlines() == [
        "here: 2 of 40 runs (5 %), 00:30 so far, 09:30 to go, accuracy=4.0 %",
        "here: 5 of 40 runs (12 %), 01:01 so far, 07:07 to go, accuracy=4.0 %",
        "here: 35 of 40 runs (88 %), 01:31 so far, 00:13 to go, accuracy=4.0 %",
        "here: 40 of 40 runs (100 %), 01:36 so far, 00:00 to go, accuracy=4.0 %",
    ]


def test_a_slow_item_in_many_gets_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(0, 100_000, 40))
    list(Lines(range(1000), 1000, "round", "", lambda: next(times)))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20 and lines[0].startswith("50 of 1000 rounds (5 %), 33:20 so far")


@pytest.mark.parametrize(
    ("stream", "calm", "moves"),
    [(Terminal, False, True), (Terminal, True, True), (Kernel, False, True), (Kernel, True, False),
     (io.StringIO, False, False)],
)  # fmt: skip
def test_who_sees_a_bar(stream: type[io.StringIO], calm: bool, moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bars.CALM.items():
        monkeypatch.delenv(name, raising=False)
        if calm:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", written := stream())
    assert list(bar([1, 2])) == [1, 2]
    assert ("\r" in written.getvalue()) is moves
    assert written.getvalue().count("2 of 2 rounds") == (not moves)


@pytest.mark.slow
def test_a_sweep_into_a_file_writes_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep.sweep({tmp_path: configs(2)}, jobs=1)
    said = capfd.readouterr().err
    assert "\r" not in said and said.splitlines()[-1].startswith("2 of 2 runs (100 %), ")


class Waiting(threading.Timer):
    """A timer whose time does not pass by itself."""

    made: list[Waiting] = []

    def start(self) -> None:
        self.made.append(self)

    def passes(self) -> None:
        if not self.finished.is_set():
            self.function(*self.args, **self.kwargs)


def test_what_is_long_in_coming_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After half a minute; not once the first line has come, nor after the end."""
    monkeypatch.setattr(threading, "Timer", Waiting)
    monkeypatch.setattr(Waiting, "made", [])
    with saying("reading"):
        Waiting.made[0].passes()
    with saying("training") as begun:
        begun()
        Waiting.made[1].passes()
    with saying("drawing"):
        pass
    Waiting.made[2].passes()
    assert capsys.readouterr().err == "reading ...\n"
    assert [timer.interval for timer in Waiting.made] == [bars.SECONDS] * 3 and bars.SECONDS <= 60
