"""Speed classes of the clients and the time their jobs take, in virtual seconds. No torch here.

The classes and the `mild` and `large` ranges are those of the official FADAS simulator (github.com/yujiaw98/FADAS,
commit 8c4df23): class probabilities p ~ Dir([3, 2, 1]) per client, class = argmax p; a job of a fast, medium or slow
client takes U(1, 2), U(3, 5), U(5, 8), and U(50, 80) for slow clients under large delay. With a trace, the
mean duration of each client determines its class.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedecho.core import own
from fedecho.core.checks import InputError, require
from fedecho.core.files import expanded, file_sha256, is_file
from fedecho.core.rng import stream
from fedecho.core.settings import Delays

SLOW = 2
_CONCENTRATION = (3.0, 2.0, 1.0)
_MILD = ((1.0, 2.0), (3.0, 5.0), (5.0, 8.0))
_ENDS = (2.5, 5.0)
"""Longest mean duration in a trace of a fast and of a medium client: halfway between the ranges of `mild`."""
_MEANS = tuple((low + high) / 2 for low, high in _MILD)
_RANGES = {
    "mild": _MILD, "bursty": _MILD, "large": (*_MILD[:SLOW], (50.0, 80.0)),
    "uniform": 3 * ((1.0, 8.0),), "periodic": 3 * ((1.0, 8.0),),
}  # fmt: skip
"""Delay model -> ends of the uniform distribution of a fast, a medium and a slow client's job."""
_COLUMNS = ("client", "duration")
SHORTEST, LONGEST = 1e-6, 1e9
"""Limits of a job's virtual seconds in a trace or from a function: sums of ten million of them keep their order."""
_ALLOWED = f"> 0, from {SHORTEST:g} to {LONGEST:g}"
_DEFAULT_SHAPE = {"pareto": 1.5, "lognormal": 1.0}
_CALM, _OUTAGE = 20.0, 10.0
_PERIOD = 60.0

JobTime = Callable[[int, float], float]
"""(client, start in virtual seconds) -> duration in virtual seconds."""


def speed_classes(delays: Delays, clients: int, seed: int) -> tuple[int, ...]:
    """Return each client's speed class, 0 fast, 1 medium, 2 slow, as a tuple `[clients]`.

    With a trace, each client's mean duration decides: up to 2.5 virtual seconds is fast, more than 5 is slow. If
    `speed_counts` gives the size of each class, the rank by mean duration decides instead (ties: by client number).
    """
    if delays.model == "trace":
        means = np.array([np.mean(jobs) for jobs in _read_trace(delays, clients)])
        if delays.speed_counts is None:
            return tuple(map(int, np.searchsorted(_ENDS, means)))
        ranks = means.argsort(kind="stable").argsort()
        return tuple(map(int, np.repeat(np.arange(3), delays.speed_counts)[ranks]))
    rng = stream(seed, "speed-classes")
    if delays.speed_counts is not None:
        return tuple(map(int, rng.permutation(np.repeat(np.arange(3), delays.speed_counts))))
    return tuple(map(int, rng.dirichlet(_CONCENTRATION, size=clients).argmax(axis=1)))


def job_times(delays: Delays, classes: tuple[int, ...], seed: int) -> JobTime:
    """Return the sampler of job durations for one run.

    Each client draws from its own stream, so the k-th job of a client takes equally long whatever else happens.
    """
    if delays.model == "trace":  # in order, from the beginning again when they are used up
        durations = [itertools.cycle(jobs) for jobs in _read_trace(delays, len(classes))]
        return lambda client, start: next(durations[client])

    @functools.cache  # of many clients few ever have a job
    def rng(client: int) -> np.random.Generator:
        return stream(seed, "job-times", client)

    if delays.function is not None:
        return _by_function(own.function(delays.function, "delays.function"), rng, delays.function)

    def draw(client: int, start: float) -> float:
        return _duration(delays, classes[client], rng(client))

    if delays.model == "bursty":
        return _held_by_outages(draw, seed)
    return _held_while_offline(draw) if delays.model == "periodic" else draw


def _duration(delays: Delays, speed: int, rng: np.random.Generator) -> float:
    """Draw one job's duration; the heavy-tailed models keep the class means of `mild` and only change the tail."""
    mean, shape = _MEANS[speed], delays.shape or _DEFAULT_SHAPE.get(delays.model, 0.0)
    match delays.model:
        case "constant":
            return 1.0
        case "exponential":
            return float(rng.exponential(mean))
        case "lognormal":
            return float(mean * rng.lognormal(-(shape**2) / 2, shape))
        case "pareto":
            # A tail index <= 1 has no mean: scale by the minimum instead, which every index has.
            minimum = mean * (shape - 1) / shape if shape > 1 else mean / 3
            return float(minimum * (1 + rng.pareto(shape)))
        case _:
            return float(rng.uniform(*_RANGES[delays.model][speed]))


def _by_function(seconds: Callable[..., object], rng: Callable[[int], np.random.Generator], name: str) -> JobTime:
    """Return the sampler for a user's function (client, stream); `InputError` for a duration that is not allowed."""

    def draw(client: int, start: float) -> float:
        with own.blamed("delays.function", name, f"it failed for client {client}"):
            answer = seconds(client, rng(client))
        number = isinstance(answer, int | float | np.integer | np.floating) and _is_duration(answer)  # type: ignore[arg-type]
        require(number, "delays.function", answer, f"{name} has to give a finite number of virtual seconds {_ALLOWED}")
        return float(answer)  # type: ignore[arg-type]

    return draw


def _held_by_outages(draw: JobTime, seed: int) -> JobTime:
    """Hold every job that would end during an outage until the outage is over, so that arrivals come in bursts.

    Calm spells and outages alternate; both are exponential, with means of 20 and 10 virtual seconds.
    """
    rng = stream(seed, "outages")
    edges = [float(rng.exponential(_CALM))]

    def held(client: int, start: float) -> float:
        end = start + draw(client, start)
        while edges[-1] <= end:
            edges.append(edges[-1] + float(rng.exponential(_OUTAGE if len(edges) % 2 else _CALM)))
        after = int(np.searchsorted(edges, end, side="right"))
        return (edges[after] if after % 2 else end) - start

    return held


def _held_while_offline(draw: JobTime) -> JobTime:
    """Hold every job that would end while its client is offline until the client is back online.

    In each 60 virtual seconds, odd clients are offline for the first 30, the others for the last 30.
    """

    def held(client: int, start: float) -> float:
        end = start + draw(client, start)
        since = (end + (client % 2) * _PERIOD / 2) % _PERIOD - _PERIOD / 2  # since it went offline
        return (end if since < 0 else end + _PERIOD / 2 - since) - start

    return held


def _read_trace(delays: Delays, clients: int) -> list[list[float]]:
    path = _trace_file(delays)
    if delays.trace_sha256 is not None:
        require(file_sha256(path) == delays.trace_sha256, "trace", delays.trace, "the file is not the one of this run")
    durations: list[list[float]] = [[] for _ in range(clients)]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = list(csv.reader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise InputError(
            "trace", str(path), "it is no CSV text; give a file in UTF-8 with the columns client,duration"
        ) from None
    header = [name.strip() for name in rows[0]] if rows else []
    require(set(_COLUMNS) <= set(header), "trace", str(path), f"its columns are {header}; give {','.join(_COLUMNS)}")
    for number, row in enumerate(rows[1:], start=2):
        if any(map(str.strip, row)):
            client, duration = _trace_row(header, row, f"{path.name} line {number}", clients)
            durations[client].append(duration)
    missing = [client for client, jobs in enumerate(durations) if not jobs]
    require(not missing, "trace", delays.trace, f"it has no job for client {missing[0] if missing else None}")
    return durations


def _trace_row(header: list[str], row: list[str], where: str, clients: int) -> tuple[int, float]:
    words = f"the header has {len(header)} columns, this line {len(row)}; decimals are written with a point"
    require(len(row) == len(header), where, row, words)
    cells = dict(zip(header, row, strict=True))
    try:
        client, duration = int(cells["client"]), float(cells["duration"])
    except ValueError:
        raise InputError(where, cells, "each line needs a whole client and a duration in virtual seconds") from None
    require(0 <= client < clients, where, client, f"clients are numbered 0 to {clients - 1}")
    require(_is_duration(duration), where, duration, f"a duration must be a finite number {_ALLOWED}")
    return client, duration


def _is_duration(seconds: float) -> bool:
    return SHORTEST <= seconds <= LONGEST


def _trace_file(delays: Delays) -> Path:
    path = expanded(delays.trace or "", "trace")
    require(is_file(path), "trace", delays.trace, "no such file; give a CSV file with the columns client,duration")
    return path


def pin_trace(delays: Delays, clients: int | None = None) -> Delays:
    """Return `delays` with the digest of its trace file filled in, so that the run's hash names the file's content.

    Raises `InputError` for a file that cannot be read, and, where `clients` is given, for one that is not about them.
    """
    if delays.trace is None:
        return delays
    if clients is not None:
        _read_trace(delays, clients)
    path = _trace_file(delays)
    return dataclasses.replace(delays, trace=str(path), trace_sha256=file_sha256(path))
