"""What every form of the bank promises, whatever is stored and however many predictions an input has."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedecho.core.checks import InputError
from fedecho.learning import bank as bank_module
from fedecho.learning.bank import Bank, bank_average, row_bytes
from fedecho.learning.distill import Distillation
from fedecho.learning.methods import Server
from fedecho.learning.methods.fedbuff import FedBuff, fedbuff
from fedecho.learning.methods.fedecho import echo
from fedecho.learning.teacher import teacher
from tests.conftest import an_update

CPU, CLASSES = torch.device("cpu"), 5
FORMS: list[dict[str, Any]] = [
    {"dtype": dtype, **kept}
    for dtype in (torch.float32, torch.float16)
    for kept in ({}, *({name: count} for name in ("top_k", "labels") for count in (1, 3, CLASSES)))
]
SHAPES = [(2, CLASSES), (2, 3, CLASSES)]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form.values())))
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["inputs", "positions"])
UPLOADS = st.lists(st.tuples(st.integers(0, 2), st.lists(st.floats(-30, 30, width=32), min_size=30, max_size=30)))


def kept_classes(rows: Tensor, form: dict[str, Any]) -> Tensor:
    """The classes `[..., kept]` whose entries a form keeps."""
    if "labels" in form:
        return torch.arange(form["labels"]).expand(*rows.shape[:-1], -1)
    return rows.topk(form.get("top_k", CLASSES)).indices


def check(bank: Bank, rows: Tensor, form: dict[str, Any]) -> None:
    """Hold a bank to the rows `[clients, pool, ..., classes]` that were stored last."""
    rebuilt, kept = bank.dense(), kept_classes(rows, form)
    assert rebuilt.shape == rows.shape
    assert torch.equal(rebuilt.gather(-1, kept), rows.gather(-1, kept).to(form["dtype"]))
    torch.testing.assert_close(bank.total, rebuilt.sum(0, dtype=torch.float64), rtol=1e-12, atol=1e-9)
    after, before = (rebuilt.double(), rows.double())
    if bank.holds == "logits":
        after, before = after.softmax(-1), before.softmax(-1)
    rough = {"rtol": 0.05, "atol": 2e-3} if form["dtype"] == torch.float16 else {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(after.sum(-1), before.sum(-1), **rough)
    torch.testing.assert_close(after.gather(-1, kept), before.gather(-1, kept), **rough)


@every_shape
@every_form
@settings(deadline=None, max_examples=15)
@given(UPLOADS)
def test_after_any_sequence_of_uploads(
    form: dict[str, Any], shape: tuple[int, ...], uploads: list[tuple[int, list[float]]]
) -> None:
    bank, last = Bank.empty(3, shape, CPU, **form), torch.zeros(3, *shape)
    for t, (client, numbers) in enumerate(uploads):
        last[client] = torch.tensor(numbers)[: last[0].numel()].view(shape)
        bank.store(client, last[client], t)
    check(bank, last, form)


@every_shape
@every_form
def test_probabilities_too(form: dict[str, Any], shape: tuple[int, ...]) -> None:
    bank = Bank.empty(2, shape, CPU, **form, holds="probabilities")
    rows = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for client in (0, 1, 0):
        bank.store(client, rows[client], 0)
    check(bank, rows, form)


@every_shape
@every_form
def test_bytes_are_those_of_the_formula(form: dict[str, Any], shape: tuple[int, ...]) -> None:
    entry, kept = form["dtype"].itemsize, form.get("top_k", form.get("labels", CLASSES))
    index = kept if "top_k" in form else 0  # a byte names one of 5 classes
    row = CLASSES * entry if kept == CLASSES else kept * entry + index + entry
    assert row_bytes(CLASSES, **form) == row
    assert Bank.empty(7, shape, CPU, **form).nbytes == 7 * math.prod(shape[:-1]) * row


@every_shape
@pytest.mark.parametrize("kept", ["top_k", "labels"])
def test_all_classes_are_the_dense_bank(kept: str, shape: tuple[int, ...]) -> None:
    banks = [Bank.empty(3, shape, CPU, **form) for form in ({}, {kept: CLASSES})]
    for client, row in enumerate(5 * torch.randn(3, *shape)):
        for bank in banks:
            bank.store(client, row, client)
    dense, full = banks
    assert torch.equal(dense.dense(), full.dense()) and torch.equal(dense.total, full.total)
    assert dense.nbytes == full.nbytes


@every_form
def test_a_huge_row_does_not_wipe_out_the_others(form: dict[str, Any]) -> None:
    huge = 1e20 if form["dtype"] == torch.float32 else 6e4
    bank = Bank.empty(2, (1, CLASSES), CPU, **form)
    for client, row in enumerate(torch.tensor([[[huge] * CLASSES], [[5.0, 3.0, 3.0, 3.0, 3.0]]])):
        bank.store(client, row, client)
    bank.store(0, torch.ones(1, CLASSES), 2)
    torch.testing.assert_close(bank_average(bank, None), torch.tensor([[3.0, 2.0, 2.0, 2.0, 2.0]]))


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.25, 0.5])], ids=["alike", "weighted"])
@pytest.mark.parametrize("reading", [{}, {"entropy_of": "clients"}, {"hard_label": "majority"},
                                     {"pool_weights": "agreement"}], ids=str)  # fmt: skip
@pytest.mark.parametrize("form", [{}, {"top_k": 2}, {"labels": 2}, {"labels": 2, "dtype": torch.float16}], ids=str)
def test_blocks_of_the_pool_change_nothing(
    form: dict[str, Any], reading: dict[str, Any], weights: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3 * torch.randn(3, 5, 2, CLASSES, generator=torch.Generator().manual_seed(0))
    found = []
    for entries in (10**6, 60, 1):  # all five inputs at a time, two, one
        monkeypatch.setattr(bank_module, "_BLOCK", entries)
        bank = Bank.empty(3, rows.shape[1:], CPU, **form)
        for client in (0, 1, 2, 0):
            bank.store(client, rows[client], 0)
        found.append((len(list(bank.blocks())), bank, teacher(bank, Distillation(**reading), weights)))
    assert [pieces for pieces, _, _ in found] == [1, 3, 5]
    (_, whole, taught), *others = found
    for _, bank, same in others:
        assert torch.equal(bank.dense(), whole.dense()) and torch.equal(bank.total, whole.total)
        torch.testing.assert_close(same.probs, taught.probs)
        torch.testing.assert_close(same.entropy, taught.entropy)
        assert torch.equal(same.labels, taught.labels)
        assert (same.weights is None) == (taught.weights is None)
        if same.weights is not None and taught.weights is not None:
            torch.testing.assert_close(same.weights, taught.weights)


# The label subset


def test_the_first_classes_are_kept_and_the_others_share_their_probability_evenly() -> None:
    bank = Bank.empty(1, (1, 4), CPU, labels=2)
    bank.store(0, torch.tensor([[1.0, 2.0, 6.0, 1.0]]).log(), 0)
    torch.testing.assert_close(bank.dense().exp(), torch.tensor([[[1.0, 2.0, 3.5, 3.5]]]))
    assert [part.shape[-1] for part in bank.parts] == [2, 1]


def test_a_packed_row_does_not_hold_on_to_the_whole_one() -> None:
    bank, row = Bank.empty(1, (2, 100), CPU, labels=3), torch.randn(2, 100)
    assert sum(part.untyped_storage().nbytes() for part in bank.pack(row)) == 2 * (3 + 1) * 4


def test_fedecho_asks_for_its_own_labels(server: Server) -> None:
    method, x = echo(fedbuff(FedBuff()), server, Distillation(steps=1, bank_labels=1)), server.model.weights()
    state = method.receive(method.init(x, 6), an_update([0.1] * len(x.params), client=2, start=x))
    assert [part.shape for part in state.arrived[0][2]] == [(8, 1), (8, 1)]  # rows wait as they will be kept
    bank = method.close_round(state, x)[0].bank
    assert bank.nbytes == 6 * 8 * (4 + 4) and bank.seen().tolist() == [k == 2 for k in range(6)]


@pytest.mark.parametrize("m", [0, -1, 4])
def test_impossible_labels(m: int) -> None:
    with pytest.raises(InputError, match=f"bank_labels = {m} is not usable: give 1 to 3") as caught:
        Bank.empty(2, (2, 3), CPU, labels=m)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda **k: Distillation(**{f"bank_{n}": v for n, v in k.items()}),
                                  lambda **k: Bank.empty(2, (2, 3), CPU, **k)], ids=["settings", "bank"])  # fmt: skip
def test_one_truncation_at_a_time(make: Any) -> None:
    with pytest.raises(InputError, match="bank_labels = 2 .* bank_top_k = 1 .* one of them") as caught:
        make(top_k=1, labels=2)
    assert "\n" not in str(caught.value)


def test_labels_must_be_positive_before_there_is_a_bank() -> None:
    with pytest.raises(InputError, match="bank_labels = 0"):
        Distillation(bank_labels=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 7e4])
def test_what_the_bank_cannot_keep(bad: float) -> None:
    bank, row = Bank.empty(1, (2, 3), CPU, torch.float16, labels=1), torch.zeros(2, 3)
    assert bank.can_keep(row)
    row[1, 2] = bad
    assert not bank.can_keep(row)
