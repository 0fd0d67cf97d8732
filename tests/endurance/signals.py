"""Signals to a sweep that has workers: who is left, and how long it took."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.test_processes import ROOT, heed

MARK = "FEDECHO_ENDURANCE"
NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT)
PATIENCE = 20.0
"""Seconds after which whoever is left counts as an orphan."""


def marked(mark: str) -> list[int]:
    """Return the processes that have a mark in their environment, but for the dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if alive and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it is gone, or nobody's business
            continue
    return found


def described(pid: int) -> str:
    """Say which process it is, and whether it runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid}, child of {status[1]}, state {status[0]}, {words:.160}"
    except OSError as error:
        return f"{pid}: {error}"


def signalled(number: signal.Signals, delay: float) -> tuple[int, int, float, int]:
    """Send a signal to a sweep `delay` seconds after its first record, or -`delay` after its start; return its
    processes, those that are left, the seconds until all others were gone, and its exit code. Shows what it said where
    that is not its one line."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as name:
        places = {"FEDECHO_PAPER": f"{name}/paper", "PYTHONPATH": str(ROOT)}
        variables = {**os.environ, **places, MARK: mark, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "fedecho", "sweep", "--profile", "smoke", "--jobs", "2"]
        said = Path(name) / "said"
        with said.open("w") as err:
            parent = subprocess.Popen(command, env=variables, stderr=err, stdout=err, preexec_fn=heed)
        while delay >= 0 and not list(Path(name).rglob("*.json")) and parent.poll() is None:
            time.sleep(0.05)
        time.sleep(abs(delay))
        processes, began = marked(mark), time.monotonic()
        parent.send_signal(number)
        while (left := marked(mark)) and time.monotonic() - began < PATIENCE:
            time.sleep(0.02)
            parent.poll()
        seconds, code = time.monotonic() - began, parent.wait() if not left else parent.poll() or 0
        for pid in left:
            print(f"    left of {parent.pid}: {described(pid)}", flush=True)
            os.kill(pid, signal.SIGKILL)
        if number != signal.SIGKILL and code != 128 + number:
            print(said.read_text(errors="replace")[-3000:], flush=True)
        return len(processes), len(left), seconds, code


def measure(count: int = 30, seed: int = 0) -> str:
    """Send `count` signals, each kind in its turn, a third of them before there is a record."""
    rng, seen = random.Random(seed), []
    for place in range(count):
        delay = -rng.uniform(0.5, 8) if place % 3 == 2 else rng.uniform(0, 3)
        number = NUMBERS[place % len(NUMBERS)]
        seen.append((number.name, *signalled(number, delay)))
        print(f"  {seen[-1][0]}: {seen[-1][1]} processes, {seen[-1][3]:.1f} s, code {seen[-1][4]}", flush=True)
    orphans, longest = sum(one[2] for one in seen), max(one[3] for one in seen)
    middle = sorted(one[3] for one in seen)[len(seen) // 2]
    processes = sum(one[1] for one in seen)
    return (
        f"{len(seen)} signals to sweeps of {processes} processes in all: {orphans} orphans; "
        f"all were gone after {middle:.1f} s (median), {longest:.1f} s at most"
    )
