"""One run: Algorithm 1 replayed over a schedule that was drawn beforehand. Start reading at `run`."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from fedecho.core import numerics
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig, config_hash, to_dict
from fedecho.core.provenance import require_device
from fedecho.core.records import Record, Row, rounded
from fedecho.core.settings import Protocol
from fedecho.learning import faults
from fedecho.learning.bar import Wrap, shown
from fedecho.learning.checkpoint import Checkpoints, Journal, Progress, Version
from fedecho.learning.client import Update, sgd
from fedecho.learning.cost.advice import with_memory_advice
from fedecho.learning.evaluation import evaluate, samples, written
from fedecho.learning.export import by_name
from fedecho.learning.flat import Weights
from fedecho.learning.gate import Gate
from fedecho.learning.methods.base import Method, Server, build
from fedecho.learning.pins import pin
from fedecho.learning.resume import Keeper
from fedecho.learning.task import Task, prepare
from fedecho.simulation.schedule import Job, Round


@contextmanager
def one_thread() -> Iterator[None]:
    """Run with one torch thread and deterministic cuDNN, so that sums do not differ between machines or calls."""
    before, cudnn = torch.get_num_threads(), torch.backends.cudnn
    chosen = cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(1)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cudnn.deterministic, cudnn.benchmark = chosen


@one_thread()
@with_memory_advice
def run(
    config: RunConfig,
    *,
    on_row: Callable[[Row], None] = lambda row: None,
    progress: Wrap | bool = False,
    device: str = "cpu",
    data_root: Path | None = None,
    keeper: Keeper | None = None,
    keep_model: bool = False,
) -> Record:
    """Train one model as `config` specifies and return its record: on one machine's CPU, a pure function of `config`.

    `on_row` is called with each evaluation's row; `progress` wraps the iterable of rounds (True: a progress bar);
    `keeper` saves progress to a file and resumes from it; `keep_model` leaves the final weights in `record.model`.
    Raises `InputError` for bad input before any training. A run ends early with status `diverged` once the model or its
    loss is not finite, or if every upload between two evaluations was rejected.
    """
    require_device(device)
    config.execution.require_compiler(device)
    config = pin(config)
    task, clock = prepare(config, torch.device(device), data_root), Clock()
    method = build(config.method, server(task, config, clock))

    x = task.model.weights()  # x_0
    state = method.init(x, config.protocol.clients)
    checkpoints = Checkpoints(task.plan.uses_of_version(), with_before=config.protocol.delta == "fadas_code")
    keeper, fresh = keeper or Keeper(), Progress(0, x, state, checkpoints, Journal(), [])
    on_row, progress = shown(on_row, progress)
    # Resume if the keeper has a file for this run.
    done, x, state, checkpoints, journal, rows = keeper.begin(fresh, config, task.facts, clock, device)
    gate = Gate(task.plan, config.protocol, x, done)
    for rnd in progress(task.plan.rounds[done:]):
        checkpoints.keep(rnd.index, Version(x, method.broadcast(state)))
        accepted = 0
        for job in rnd.arrivals:
            with clock("local"):  # the client returns Delta_i = x_i - x_s
                update = work(task, config, method, state, rnd, job, checkpoints.take(job.base_version))
            if gate.admits(update, job, journal):  # else it is rejected, and its logits with it
                state = method.receive(state, update)  # FedEcho: predicts U with x_s + Delta_i, and drops that model
                accepted += 1
        if accepted:
            with clock("aggregation"):
                state, x = method.close_round(state, x)  # x_t + eta * mean Delta; FedEcho: then Q distillation steps
        journal.observe(rnd, accepted, method.metrics(state))
        if not x.finite():
            break
        if (rnd.index + 1) % config.evaluation.every == 0 or rnd.index + 1 == config.protocol.rounds:
            with clock("evaluation"):
                scores = evaluate(task.model, method.evaluated(state, x), task.held_out)
            if journal.accepted == 0 or not math.isfinite(scores["loss"]):
                break
            rows.append(journal.row(rnd, config.protocol.buffer_size, scores))
            on_row(rows[-1])
        keeper.after(Progress(rnd.index + 1, x, state, checkpoints, journal, rows))
    whole = bool(rows) and rows[-1]["round"] == config.protocol.rounds
    facts = task.facts | (_samples(task, method.evaluated(state, x), config.seed) if whole else {})
    made = new_record(config, "done" if whole else "diverged", rows, facts, clock, keeper.provenance(device))
    return made.keeping(by_name(task.model, method.evaluated(state, x))) if keep_model else made


def new_record(
    config: RunConfig,
    status: Literal["done", "diverged"],
    rows: list[Row],
    facts: dict[str, Any],
    clock: Clock,
    provenance: dict[str, Any],
) -> Record:
    """Assemble the record of a finished run; adds the date and the digest of the numerics to `provenance`."""
    facts = {name: rounded(value) for name, value in facts.items()}
    code = numerics.name_of(numerics.of(config.method))
    provenance = provenance | {"date": str(datetime.date.today()), "numerics": code}
    return Record(to_dict(config), config_hash(config), config.seed, status, rows, facts, clock.phases(), provenance)


def server(task: Task, config: RunConfig, clock: Clock) -> Server:
    """Return the `Server` for a method; if `data.pool` is `self`, it can sample U as text from its own model."""
    writes = config.data.pool == "self"
    write = partial(written, task.model, shape=task.pool.shape, seed=config.seed) if writes else None
    return Server(task.model, task.pool, task.plan, config.local, config.seed, clock=clock, write=write)


def _samples(task: Task, weights: Weights, seed: int) -> dict[str, Any]:
    """Return text samples of the final model for the record; empty for a classifier."""
    if task.decode is None:
        return {}
    return {"samples": samples(task.model, weights, task.held_out.images, task.decode, seed)}


def work(task: Task, config: RunConfig, method: Method[Any], state: Any, rnd: Round, job: Job, sent: Version) -> Update:
    """Train one client from the version it was sent and return its upload."""
    correction = method.correction(state, job.client, sent.extra)
    key = (config.seed, job.client, job.number)
    before = sent.before if starts_behind(job, config.protocol) else None
    start, data = before or sent.model, task.clients[job.client]  # a faulty client's labels are already flipped there
    gradients = torch.zeros_like(start.params) if method.normalised else None
    model, steps = sgd(task.model, start, data, config.local, key, correction, method.proximal, gradients)
    delta, when = model.params - sent.model.params, job.arrived_at
    mean, report = None if gradients is None else gradients / steps, method.report(state, job.client, data)
    if job.client in task.faulty:
        delta = faults.sent(delta, config.faults, key)
        mean = None if mean is None else faults.sent(mean, config.faults, key)
    return Update(
        job.client, job.base_version, rnd.index, when, sent.model, delta, model.buffers, steps, correction, before,
        mean, report,
    )  # fmt: skip


def starts_behind(job: Job, protocol: Protocol) -> bool:
    """Tell whether the official FADAS loop starts this job from the version before the one it is labelled with.

    It does so for all but the last of the M clients that start when a round closes.
    """
    place = job.number - protocol.concurrency
    return place >= 0 and (place + 1) % protocol.buffer_size != 0
