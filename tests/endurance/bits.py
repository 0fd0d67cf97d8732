"""Single bits flipped in records and in checkpoints: how many are accepted although their content differs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from fedecho.core import records
from fedecho.core.checks import InputError
from fedecho.learning import checkpoint, experiment
from fedecho.learning.resume import Keeper, Paused
from tests.endurance.kills import CONFIGS


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with one bit the other way."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def of_records(folder: Path, count: int, rng: random.Random) -> tuple[int, int]:
    """Flip bits in a record; return how many files were read, and how many of these differed from what was written."""
    record, path = experiment.run(CONFIGS[0]), folder / f"fedecho-{'0' * 16}.json"
    records.save(record, path)
    whole, read, differing = path.read_bytes(), 0, 0
    for number in range(count):
        path = folder / f"{number}.json"  # a name of its own: what was read is remembered by name
        path.write_bytes(flipped(whole, rng))
        try:
            found = records.load(path)
        except InputError:
            continue
        read += 1
        differing += records.dumps(found) != whole.decode()
    return read, differing


def of_checkpoints(folder: Path, count: int, rng: random.Random) -> tuple[int, int]:
    """Flip bits in a checkpoint; return how many files were read, all of which differ from what was written."""
    path, read = folder / "run.pt", 0
    try:
        experiment.run(CONFIGS[0], keeper=Keeper(path, deadline=0.0))
    except Paused:
        whole = path.read_bytes()
    for _ in range(count):
        path.write_bytes(flipped(whole, rng))
        try:
            checkpoint.read(path, CONFIGS[0])
        except InputError:
            continue
        read += 1
    return read, read


def measure(count: int = 400, seed: int = 0) -> str:
    """Flip `count` bits in each."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        read, differing = of_records(Path(name), count, rng)
        _, rotten = of_checkpoints(Path(name), count, rng)
    return (
        f"{count} bits of a record: {differing} accepted with other content ({read} were in blanks between its parts); "
        f"{count} bits of a checkpoint: {rotten} accepted"
    )
