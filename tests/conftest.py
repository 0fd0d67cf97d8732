"""Toy pieces that tests share: a two-number model, hand-made updates, a filled bank, a small server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import torch
from torch import Tensor, nn

from fedecho.core import numerics
from fedecho.core.settings import Delays, Local, Protocol
from fedecho.learning.bank import Bank, Holds
from fedecho.learning.client import Update
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.methods import Server
from fedecho.simulation.events import draw

EMPTY = torch.empty(0)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records lie where they always do while the numerics are being edited; tests/test_numerics.py sees to them."""
    monkeypatch.setattr(numerics, "unlisted", lambda parts: ())


def weights(*numbers: float) -> Weights:
    return Weights(torch.tensor(numbers), EMPTY)


def form_of(dtype: torch.dtype = torch.float32, top_k: int | None = None, labels: int | None = None,
            holds: Holds = "logits") -> Distillation:  # fmt: skip
    """The settings of a bank that keeps its rows in a form."""
    kind: Any = str(dtype).removeprefix("torch.")
    return Distillation(bank_dtype=kind, bank_top_k=top_k, bank_labels=labels, average=holds)


def empty_bank(clients: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, **form: Any) -> Bank:
    return Bank.empty(clients, shape, torch.device("cpu"), form_of(dtype, **form))


def filled(*rows: list[list[float]], clients: int = 4) -> Bank:
    """A bank in which client k uploaded `rows[k]` in round k."""
    bank = Bank.empty(clients, (len(rows[0]), len(rows[0][0])), torch.device("cpu"))
    for client, row in enumerate(rows):
        bank.store(client, torch.tensor(row), client)
    return bank


def an_update(
    delta: list[float],
    *,
    client: int = 0,
    base: int = 0,
    now: int = 0,
    arrived: float | None = None,
    start: Weights | None = None,
    buffers: list[float] | None = None,
    steps: int = 1,
    correction: Tensor | None = None,
    gradient: Tensor | None = None,
) -> Update:
    """An upload of client `client`, started from version `base` and arriving in round `now`."""
    begin = start if start is not None else Weights(torch.zeros(len(delta)), EMPTY)
    own = EMPTY if buffers is None else torch.tensor(buffers)
    when = float(now) + client / 1000 if arrived is None else arrived
    moved = torch.tensor(delta)
    return Update(client, base, now, when, begin, moved, own, steps, correction, gradient=gradient)


@pytest.fixture
def server() -> Server:
    """A linear model of 2 features and 3 classes, a pool of 8 points, a schedule of 6 clients."""
    torch.manual_seed(0)
    pool = torch.randn(8, 2)
    plan = draw(Protocol(6, 4, 2, 30), Delays("mild"), 0)
    return Server(FlatModel(nn.Linear(2, 3)), pool, plan, Local(lr=0.1), seed=0)


@pytest.fixture
def make_updates() -> Callable[..., list[Update]]:
    """Random uploads for a model of `size` parameters, from distinct clients."""

    def make(size: int, count: int = 2, now: int = 0, seed: int = 0) -> list[Update]:
        generator = torch.Generator().manual_seed(1000 * now + seed)
        start = Weights(torch.randn(size, generator=generator), EMPTY)
        deltas = 0.1 * torch.randn(count, size, generator=generator)
        terms = 0.01 * torch.randn(count, size, generator=generator)
        return [
            an_update(d.tolist(), correction=terms[k], client=(now + k) % 6, base=max(0, now - k), now=now, start=start,
                      gradient=-d)
            for k, d in enumerate(deltas)
        ]  # fmt: skip

    return make
