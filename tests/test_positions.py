"""A prediction for each position of a text: the same numbers as that many texts of one prediction each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedecho.learning.bank import Bank, bank_average
from fedecho.learning.distill import (
    distil,
    distillation_loss,
    kl_from_logits,
    mixing_weight,
    reverse_kl_from_logits,
)
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, predict
from fedecho.learning.methods import Server
from fedecho.learning.methods.fedbuff import FedBuff, fedbuff
from fedecho.learning.methods.fedecho import echo
from fedecho.learning.teacher import averaged_teacher, corrupted, teacher
from tests.conftest import an_update, empty_bank

CPU = torch.device("cpu")
CLIENTS, TEXTS, POSITIONS, CLASSES = 3, 4, 2, 5
FLAT = (CLIENTS, TEXTS * POSITIONS, CLASSES)
WEIGHTS = torch.tensor([1.0, 0.0, 0.25])
READINGS: list[dict[str, Any]] = [
    {}, {"entropy_of": "clients"}, {"hard_label": "majority"}, {"average": "probabilities"}, {"temperature": 2.0},
    {"pool_weights": "certainty"}, {"pool_weights": "agreement"},
]  # fmt: skip


def random(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def bank_of(rows: Tensor, **form: Any) -> Bank:
    bank = empty_bank(len(rows), rows.shape[1:], **form)
    for client, row in enumerate(rows):
        bank.store(client, row, client)
    return bank


@pytest.mark.parametrize("form", [{}, {"dtype": torch.float16}, {"top_k": 2}], ids=str)
def test_the_bank_is_that_of_so_many_rows(form: dict[str, Any]) -> None:
    rows = random(CLIENTS, TEXTS, POSITIONS, CLASSES)
    deep, flat = bank_of(rows, **form), bank_of(rows.view(FLAT), **form)
    assert deep.dense().shape == rows.shape and deep.nbytes == flat.nbytes
    assert torch.equal(deep.dense().view(FLAT), flat.dense())
    for weights in (None, WEIGHTS):
        mean = bank_average(deep, weights)
        assert mean.shape == rows.shape[1:]
        torch.testing.assert_close(mean.view(FLAT[1:]), bank_average(flat, weights))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_so_is_the_teacher(reading: dict[str, Any], weights: Tensor | None) -> None:
    how, rows = Distillation(**reading), random(CLIENTS, TEXTS, POSITIONS, CLASSES)
    rows = rows.softmax(-1) if how.average == "probabilities" else rows
    deep, flat = (teacher(bank_of(r), how, weights) for r in (rows, rows.view(FLAT)))
    assert deep.probs.shape == rows.shape[1:] and deep.labels.shape == deep.entropy.shape == (TEXTS, POSITIONS)
    torch.testing.assert_close(deep.probs.view(FLAT[1:]), flat.probs)
    torch.testing.assert_close(deep.entropy.flatten(), flat.entropy)
    assert torch.equal(deep.labels.flatten(), flat.labels)
    assert (deep.weights is None) == (flat.weights is None)
    if deep.weights is not None and flat.weights is not None:
        torch.testing.assert_close(deep.weights.flatten(), flat.weights)


def test_so_are_one_models_predictions_and_a_teacher_that_is_wrong() -> None:
    logits = random(TEXTS, POSITIONS, CLASSES)
    deep, flat = (corrupted(averaged_teacher(x, Distillation())) for x in (logits, logits.view(FLAT[1:])))
    assert torch.equal(deep.probs.view(FLAT[1:]), flat.probs) and torch.equal(deep.labels.flatten(), flat.labels)


@pytest.mark.parametrize("kl", [kl_from_logits, reverse_kl_from_logits])
def test_each_prediction_has_its_own_divergence(kl: Any) -> None:
    student, probs = random(TEXTS, POSITIONS, CLASSES), random(TEXTS, POSITIONS, CLASSES).roll(1, 0).softmax(-1)
    by_row = torch.stack([kl(probs[text], student[text]) for text in range(TEXTS)])
    assert kl(probs, student).shape == (TEXTS, POSITIONS)
    torch.testing.assert_close(kl(probs, student), by_row)


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("reading", [{}, {"kl": "reverse"}, {"temperature": 2.0}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_mean_over_all_predictions(scope: Any, reading: dict[str, Any], weighted: bool) -> None:
    how, student = Distillation(alpha_scope=scope, **reading), random(TEXTS, POSITIONS, CLASSES)
    taught = teacher(bank_of(random(1, TEXTS, POSITIONS, CLASSES).roll(1, 1)), how)
    weights = torch.arange(8.0).view(TEXTS, POSITIONS) if weighted else None
    alpha = mixing_weight(taught.entropy, how)
    assert alpha.shape == ((TEXTS, POSITIONS) if scope == "sample" else ())
    deep = distillation_loss(student, taught.probs, taught.labels, alpha, how, weights)
    flat = distillation_loss(
        student.view(FLAT[1:]), taught.probs.view(FLAT[1:]), taught.labels.flatten(),
        alpha.flatten() if scope == "sample" else alpha, how, None if weights is None else weights.flatten(),
    )  # fmt: skip
    torch.testing.assert_close(deep, flat)


@pytest.mark.parametrize("reading", [{}, {"alpha_scope": "sample"}, {"pool_weights": "certainty"}], ids=str)
def test_distilling_texts_is_distilling_their_predictions(reading: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, pool = FlatModel(nn.Linear(2, CLASSES)), random(TEXTS, POSITIONS, 2)
    how = Distillation(steps=3, lr=0.5, batch_size=8, **reading)
    x = model.weights()
    taught = teacher(bank_of(random(2, TEXTS, POSITIONS, CLASSES)), how)
    flat = replace(
        taught, probs=taught.probs.view(FLAT[1:]), labels=taught.labels.flatten(), entropy=taught.entropy.flatten(),
        weights=None if taught.weights is None else taught.weights.flatten(),
    )  # fmt: skip
    deep_x, deep_facts = distil(model, x, pool, taught, how, (0, 0))
    flat_x, flat_facts = distil(model, x, pool.view(-1, 2), flat, how, (0, 0))
    torch.testing.assert_close(deep_x.params, flat_x.params)
    assert deep_facts == pytest.approx(flat_facts, rel=1e-5) and not torch.equal(deep_x.params, x.params)
    assert predict(model, x, pool, 3).shape == (TEXTS, POSITIONS, CLASSES)


@pytest.mark.parametrize("reading", [{}, {"bank_top_k": 2}, {"source": "average"}], ids=str)
def test_fedecho_banks_a_model_that_continues_texts(server: Server, reading: dict[str, Any]) -> None:
    how = Distillation(steps=2, lr=0.5, batch_size=3, **reading)
    reading_texts = replace(server, pool=server.pool.view(4, 2, 2))
    method, x = echo(fedbuff(FedBuff()), reading_texts, how), server.model.weights()
    state = method.receive(method.init(x, 6), an_update([0.1] * len(x.params), client=2, start=x))
    closed, moved = method.close_round(state, x)
    assert closed.bank.dense().shape == (6, 4, 2, 3) and closed.metrics["teachers"] == 1
    assert not torch.equal(moved.params, x.params)
