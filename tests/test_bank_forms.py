"""What every form of the bank promises, whatever is stored, and what truncation does to the entropy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fedecho.core.checks import InputError
from fedecho.learning import bank as bank_module
from fedecho.learning.bank import Bank, bank_average, first, largest, rebuilt, row_bytes
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import Server
from fedecho.learning.methods.fedbuff import FedBuff, fedbuff
from fedecho.learning.methods.fedecho import echo
from fedecho.learning.teacher import teacher
from tests.conftest import an_update, empty_bank, form_of

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
    dense, kept = bank.dense(), kept_classes(rows, form)
    assert dense.shape == rows.shape
    assert torch.equal(dense.gather(-1, kept), rows.gather(-1, kept).to(form["dtype"]))
    torch.testing.assert_close(bank.total, dense.sum(0, dtype=torch.float64), rtol=1e-12, atol=1e-9)
    after, before = (dense.double(), rows.double())
    if bank.holds == "logits":
        after, before = after.softmax(-1), before.softmax(-1)
    rough = {"rtol": 0.05, "atol": 2e-3} if form["dtype"] == torch.float16 else {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(after.sum(-1), before.sum(-1), **rough)
    torch.testing.assert_close(after.gather(-1, kept), before.gather(-1, kept), **rough)


@every_shape
@every_form
@settings(deadline=None, max_examples=8)
@given(UPLOADS)
def test_after_any_sequence_of_uploads(
    form: dict[str, Any], shape: tuple[int, ...], uploads: list[tuple[int, list[float]]]
) -> None:
    bank, last = empty_bank(3, shape, **form), torch.zeros(3, *shape)
    for t, (client, numbers) in enumerate(uploads):
        last[client] = torch.tensor(numbers)[: last[0].numel()].view(shape)
        bank.store(client, last[client], t)
    check(bank, last, form)


@every_shape
@every_form
def test_probabilities_too(form: dict[str, Any], shape: tuple[int, ...]) -> None:
    bank = empty_bank(2, shape, **form, holds="probabilities")
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
    assert row_bytes(CLASSES, form_of(**form)) == row
    assert empty_bank(7, shape, **form).nbytes == 7 * math.prod(shape[:-1]) * row


@every_shape
@pytest.mark.parametrize("kept", ["top_k", "labels"])
def test_all_classes_are_the_dense_bank(kept: str, shape: tuple[int, ...]) -> None:
    banks = [empty_bank(3, shape, **form) for form in ({}, {kept: CLASSES})]
    for client, row in enumerate(5 * torch.randn(3, *shape)):
        for bank in banks:
            bank.store(client, row, client)
    dense, full = banks
    assert torch.equal(dense.dense(), full.dense()) and torch.equal(dense.total, full.total)
    assert dense.nbytes == full.nbytes


@every_form
def test_a_huge_row_does_not_wipe_out_the_others(form: dict[str, Any]) -> None:
    huge = 1e20 if form["dtype"] == torch.float32 else 6e4
    bank = empty_bank(2, (1, CLASSES), **form)
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
        bank = empty_bank(3, rows.shape[1:], **form)
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


@pytest.mark.parametrize("kept", ["bank_top_k", "bank_labels"])
def test_a_form_that_drops_nothing_is_no_form_of_its_own(server: Server, kept: str) -> None:
    x = server.model.weights()
    classes = server.model.logits(server.pool[:1]).shape[-1]
    echo(fedbuff(FedBuff()), server, Distillation(steps=1, **{kept: classes - 1})).init(x, 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{kept} = {classes} .*there are {classes} classes; leave it out"):
        echo(fedbuff(FedBuff()), server, Distillation(steps=1, **{kept: classes})).init(x, 2)  # type: ignore[arg-type]


# The label subset


def test_the_first_classes_are_kept_and_the_others_share_their_probability_evenly() -> None:
    bank = empty_bank(1, (1, 4), labels=2)
    bank.store(0, torch.tensor([[1.0, 2.0, 6.0, 1.0]]).log(), 0)
    torch.testing.assert_close(bank.dense().exp(), torch.tensor([[[1.0, 2.0, 3.5, 3.5]]]))
    assert [part.shape[-1] for part in bank.parts] == [2, 1]


def test_a_packed_row_does_not_hold_on_to_the_whole_one() -> None:
    bank, row = empty_bank(1, (2, 100), labels=3), torch.randn(2, 100)
    assert sum(part.untyped_storage().nbytes() for part in bank.pack(row)) == 2 * (3 + 1) * 4


def test_fedecho_asks_for_its_own_labels(server: Server) -> None:
    method, x = echo(fedbuff(FedBuff()), server, Distillation(steps=1, bank_labels=1)), server.model.weights()
    state = method.receive(method.init(x, 6), an_update([0.1] * len(x.params), client=2, start=x))
    assert [part.shape for part in state.arrived[0][2]] == [(8, 1), (8, 1)]  # rows wait as they will be kept
    bank = method.close_round(state, x)[0].bank
    assert bank.nbytes == 6 * 8 * (4 + 4) and bank.seen().tolist() == [k == 2 for k in range(6)]


# What truncation does to the entropy of a prediction, and to a teacher made of many

NUMBERS = st.floats(-30, 30)
ROWS = st.integers(2, 9).flatmap(lambda c: st.tuples(st.lists(NUMBERS, min_size=c, max_size=c), st.integers(1, c - 1)))
BANKS = st.tuples(st.lists(st.lists(NUMBERS, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 5))
EPS = 1e-9
each_truncation = pytest.mark.parametrize("cut", [largest, first])


def entropy(probs: Tensor) -> Tensor:
    return torch.special.entr(probs).sum(-1)


def logits(*probs: float) -> Tensor:
    return torch.tensor(probs, dtype=torch.float64).log()


def error_and_bound(cut: Any, row: Tensor, k: int) -> tuple[float, float]:
    """By how much truncation changes the entropy of a row of logits, and t log D for the D classes it drops."""
    whole, rough = row.softmax(-1), rebuilt(cut(row, k), len(row)).softmax(-1)
    kept = row.topk(k).indices if cut is largest else torch.arange(k)
    torch.testing.assert_close(rough[kept], whole[kept])
    tail, dropped = 1 - float(whole[kept].sum()), len(row) - k
    return float(entropy(rough) - entropy(whole)), tail * math.log(dropped)


@each_truncation
@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_the_entropy_of_a_truncated_row_is_at_most_t_log_d_too_large(cut: Any, case: tuple[list[float], int]) -> None:
    error, bound = error_and_bound(cut, torch.tensor(case[0], dtype=torch.float64), case[1])
    assert -EPS <= error <= bound + EPS


@each_truncation
@pytest.mark.parametrize(("row", "share"), [((0.7, 0.1, 0.1, 0.1), 0.0), ((0.7, 0.3, 1e-300, 1e-300), 1.0)])
def test_both_ends_of_the_bound(cut: Any, row: tuple[float, ...], share: float) -> None:
    error, bound = error_and_bound(cut, logits(*row), 1)
    assert bound == pytest.approx(0.3 * math.log(3)) and error == pytest.approx(share * bound, abs=EPS)


@settings(deadline=None, max_examples=50)
@given(BANKS)
def test_the_bound_holds_for_the_mean_of_probabilities_of_a_label_subset(case: tuple[list[list[float]], int]) -> None:
    rows, m = torch.tensor(case[0], dtype=torch.float64).softmax(-1), case[1]
    error = entropy(rebuilt(first(rows, m, "probabilities"), 6).mean(0)) - entropy(rows.mean(0))
    assert -EPS <= error <= rows[:, m:].sum(-1).mean() * math.log(6 - m) + EPS


@settings(deadline=None, max_examples=50)
@given(BANKS)
def test_the_tail_of_a_mean_of_logits_can_only_gain(case: tuple[list[list[float]], int]) -> None:
    rows, m = torch.tensor(case[0], dtype=torch.float64), case[1]
    whole, cut = (z.mean(0).softmax(-1)[m:].sum() for z in (rows, rebuilt(first(rows, m), 6)))
    assert cut >= whole - EPS


def test_and_neither_side_of_the_bound_holds_for_its_entropy() -> None:
    # Clients that are sure of different rare tokens: truncated, both are sure of "a rare token", and of no other.
    apart = torch.tensor([[0.0, 20.0, -20.0], [0.0, -20.0, 20.0]], dtype=torch.float64)
    whole, cut = (z.mean(0).softmax(-1) for z in (apart, rebuilt(first(apart, 1), 3)))
    assert entropy(whole).item() == pytest.approx(math.log(3)) and entropy(cut).item() == pytest.approx(math.log(2))
    # Each gives another rare token 1 in 150, which the mean of their logits rules out; truncated, it stays 1 in 150.
    apart = torch.tensor([[0.0, -5.0, -60.0], [0.0, -60.0, -5.0]], dtype=torch.float64)
    whole, cut = (z.mean(0).softmax(-1) for z in (apart, rebuilt(first(apart, 1), 3)))
    bound = (1 - apart.softmax(-1)[:, 0]).mean() * math.log(2)
    assert entropy(cut) - entropy(whole) > 9 * bound


@pytest.mark.parametrize("holds", ["logits", "probabilities"])
def test_a_mean_of_top_k_rows_can_be_surer_than_that_of_whole_ones(holds: Any) -> None:
    rows = logits(9, 1, 1, 1) - math.log(12), logits(1, 9, 8, 9) - math.log(27)
    given_rows = torch.stack(rows) if holds == "logits" else torch.stack(rows).exp()
    means = [z.mean(0) for z in (given_rows, rebuilt(largest(given_rows, 1, holds), 4))]
    whole, cut = (entropy(z.softmax(-1) if holds == "logits" else z) for z in means)
    assert cut < whole - 0.05
