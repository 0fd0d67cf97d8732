"""Entropy, alpha, losses, clipping and the teacher, on numbers one can check by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from fedecho.learning.bank import Bank
from fedecho.learning.distill import (
    Teacher,
    clip_factor,
    distil,
    distillation_loss,
    kl_from_logits,
    mixing_weight,
    pool_batches,
    reverse_kl_from_logits,
)
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights, predict
from fedecho.learning.methods import Server
from fedecho.learning.methods.fedecho import row_weights
from fedecho.learning.teacher import averaged_teacher, corrupted, normalised_entropy, teacher
from tests.conftest import filled

DEFAULT = Distillation()
UNIFORM, ONE_HOT = torch.full((1, 4), 0.25), torch.tensor([[0.0, 1.0, 0.0, 0.0]])


def test_entropy_at_its_ends() -> None:
    assert normalised_entropy(UNIFORM).item() == pytest.approx(1.0)
    assert normalised_entropy(ONE_HOT).item() == 0.0
    two_of_four = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert normalised_entropy(two_of_four).item() == pytest.approx(math.log(2) / math.log(4))


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_entropy_lies_in_the_unit_interval(logits: list[float]) -> None:
    assert 0 <= normalised_entropy(F.softmax(torch.tensor(logits), 0)).item() <= 1


@pytest.mark.parametrize(("entropy", "expected"), [(0.0, 0.2), (0.5, 0.5), (1.0, 0.8)])
def test_alpha_rises_with_entropy(entropy: float, expected: float) -> None:
    level = torch.full((3,), entropy)
    assert mixing_weight(level, DEFAULT).item() == pytest.approx(expected)
    falling = mixing_weight(level, replace(DEFAULT, alpha_direction="falling"))
    assert falling.item() == pytest.approx(1.0 - expected)


def test_alpha_per_batch_and_per_sample() -> None:
    entropy = torch.tensor([0.0, 1.0])
    assert mixing_weight(entropy, DEFAULT).shape == ()
    torch.testing.assert_close(mixing_weight(entropy, replace(DEFAULT, alpha_scope="sample")), torch.tensor([0.2, 0.8]))


def test_kl_by_hand() -> None:
    student = torch.tensor([[0.0, math.log(3.0)]])  # q = (1/4, 3/4)
    p = torch.tensor([[0.5, 0.5]])
    forward = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    backward = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert kl_from_logits(p, student).item() == pytest.approx(forward, rel=1e-5)
    assert reverse_kl_from_logits(p, student).item() == pytest.approx(backward, rel=1e-5)
    assert kl_from_logits(torch.tensor([[0.25, 0.75]]), student).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_loss_mixes_kl_and_cross_entropy(direction: Any) -> None:
    torch.manual_seed(0)
    student, taught = torch.randn(5, 3), F.softmax(torch.randn(5, 3), -1)
    labels, how = taught.argmax(-1), replace(DEFAULT, kl=direction)
    log_q, log_p = F.log_softmax(student, -1), taught.log()
    kl = (
        F.kl_div(log_q, taught, reduction="batchmean")
        if direction == "forward"
        else F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    )
    expected = 0.3 * kl + 0.7 * F.cross_entropy(student, labels)
    torch.testing.assert_close(distillation_loss(student, taught, labels, torch.tensor(0.3), how), expected)


def test_temperature_softens_both_sides_and_rescales() -> None:
    student, how = torch.tensor([[2.0, 0.0]]), replace(DEFAULT, temperature=2.0)
    p = F.softmax(torch.tensor([[0.0, 3.0]]) / 2, -1)
    expected = 4 * F.kl_div(F.log_softmax(student / 2, -1), p, reduction="batchmean")
    torch.testing.assert_close(distillation_loss(student, p, torch.tensor([1]), torch.tensor(1.0), how), expected)


def test_temperature_leaves_the_hard_labels_alone() -> None:
    # q = (9/10, 1/10); softened by 2 it would be (3/4, 1/4).
    student, how = torch.tensor([[2 * math.log(3.0), 0.0]]), replace(DEFAULT, temperature=2.0)
    loss = distillation_loss(student, torch.tensor([[0.5, 0.5]]), torch.tensor([0]), torch.tensor(0.0), how)
    assert loss.item() == pytest.approx(math.log(10 / 9))


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_loss_and_gradient_are_finite_for_huge_logits(size: float, direction: Any, alpha: float) -> None:
    student = torch.tensor([[size, 0.0, -size]], requires_grad=True)
    bank = filled([[-size, size, 0.0]])
    taught = teacher(bank, DEFAULT)
    loss = distillation_loss(student, taught.probs, taught.labels, torch.tensor(alpha), replace(DEFAULT, kl=direction))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss) and student.grad is not None and bool(torch.isfinite(student.grad).all())


@pytest.mark.parametrize(("nu", "factor"), [(5.0, 1.0), (2.5, 0.5), (None, 1.0), (1e9, 1.0)])
def test_clipping_by_norm(nu: float | None, factor: float) -> None:
    gradient = torch.tensor([3.0, 4.0])
    scale, norm = clip_factor(gradient, replace(DEFAULT, clip_norm=nu))
    assert (scale.item(), norm.item()) == (pytest.approx(factor), 5.0)


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_clipped_gradient_never_exceeds_nu_and_keeps_its_direction(values: list[float], nu: float) -> None:
    gradient = torch.tensor(values)
    factor, _ = clip_factor(gradient, replace(DEFAULT, clip_norm=nu))
    assert (gradient * factor).norm().item() <= nu * (1 + 1e-5)
    assert 0 < factor.item() <= 1
    again, _ = clip_factor(gradient * factor, replace(DEFAULT, clip_norm=nu))
    assert again.item() == pytest.approx(1.0, rel=1e-5)


def test_clipping_by_value() -> None:
    gradient = torch.tensor([3.0, -0.5])
    factor, _ = clip_factor(gradient, replace(DEFAULT, clip="value", clip_norm=1.0))
    torch.testing.assert_close(gradient * factor, torch.tensor([1.0, -0.5]))


def test_teacher_of_one_client_is_that_client() -> None:
    taught = teacher(filled([[0.0, 5.0, 1.0]]), DEFAULT)
    torch.testing.assert_close(taught.probs, F.softmax(torch.tensor([[0.0, 5.0, 1.0]]), -1))
    assert taught.labels.tolist() == [1]


def test_uniform_teacher_gives_alpha_max_and_one_hot_alpha_min() -> None:
    for row, expected in (([[1.0, 1.0, 1.0]], 0.8), ([[0.0, 99.0, 0.0]], 0.2)):
        assert mixing_weight(teacher(filled(row), DEFAULT).entropy, DEFAULT).item() == pytest.approx(expected)


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    plain, shifted = filled([[1.0, 2.0]], [[3.0, 0.0]]), filled([[8.0, 9.0]], [[3.0, 0.0]])
    torch.testing.assert_close(teacher(plain, DEFAULT).probs, teacher(shifted, DEFAULT).probs)


def test_averaging_probabilities_differs_from_averaging_logits() -> None:
    # Rows of a sure and an unsure client: the sure one dominates logits, counts half in probabilities.
    rows = torch.tensor([[[9.0, 0.0]], [[0.0, 1.0]]])
    logits = teacher(filled(*rows.tolist()), DEFAULT)
    probabilities = teacher(filled(*F.softmax(rows, -1).tolist()), replace(DEFAULT, average="probabilities"))
    assert logits.probs[0, 0].item() == pytest.approx(1 / (1 + math.exp(-4.0)))
    assert probabilities.probs[0, 0].item() == pytest.approx((0.9999 + 0.2689) / 2, abs=1e-4)


def test_entropy_of_the_clients_measures_doubt_and_not_disagreement() -> None:
    sure_but_opposed = filled([[50.0, 0.0]], [[0.0, 50.0]])
    assert teacher(sure_but_opposed, DEFAULT).entropy.item() == pytest.approx(1.0)
    assert teacher(sure_but_opposed, replace(DEFAULT, entropy_of="clients")).entropy.item() == pytest.approx(0.0)


def test_minibatches_are_drawn_anew_for_each_seed_and_round() -> None:
    drawn = {tuple(pool_batches(20, replace(DEFAULT, steps=1), key)[0].tolist()) for key in [(0, 1), (1, 1), (0, 2)]}
    assert len(drawn) == 3


def test_majority_label() -> None:
    # Two clients weakly say class 0, one loudly says class 1.
    bank = filled([[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 9.0]])
    assert teacher(bank, DEFAULT).labels.tolist() == [1]
    assert teacher(bank, replace(DEFAULT, hard_label="majority")).labels.tolist() == [0]


def test_majority_label_of_each_position_of_a_text() -> None:
    bank = Bank.empty(3, (1, 2, 3), torch.device("cpu"))  # at its first position two clients of three say class 0,
    for client, classes in enumerate([(0, 2), (0, 2), (1, 1)]):  # at its second one two say class 2
        bank.store(client, F.one_hot(torch.tensor([classes]), 3).float(), 0)
    assert teacher(bank, replace(DEFAULT, hard_label="majority")).labels.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bank_decay": 0.5}, [0.25, 0.5, 1.0, 0.0, 0.0, 0.0]),
        ({"bank_max_age": 1}, [0, 1, 1, 0, 0, 0]),
        ({"teachers": "fresh"}, [0, 0, 1, 0, 0, 0]),
    ],
)
def test_row_weights(server: Server, changes: dict[str, Any], expected: list[float]) -> None:
    bank = filled([[1.0]], [[1.0]], [[1.0]], clients=6)  # uploaded in rounds 0, 1, 2; now it is round 2
    weights = row_weights(bank, server, replace(DEFAULT, **changes), 2)
    assert weights is not None and weights.tolist() == expected


def test_row_weights_by_schedule(server: Server) -> None:
    bank = filled(*[[[1.0]]] * 6, clients=6)
    busy, speeds = server.plan.rounds[5].busy, server.plan.speed_class
    chosen = {
        name: row_weights(bank, server, replace(DEFAULT, teachers=name), 5).tolist()  # type: ignore[union-attr]
        for name in ("idle", "fast", "slow")
    }
    assert chosen["idle"] == [float(c not in busy) for c in range(6)]
    assert chosen["fast"] == [float(speed != 2) for speed in speeds]
    assert [a + b for a, b in zip(chosen["fast"], chosen["slow"], strict=True)] == [1.0] * 6
    assert row_weights(bank, server, DEFAULT, 5) is None


def test_pool_batches_are_fresh_passes() -> None:
    batches = [b.tolist() for b in pool_batches(5, replace(DEFAULT, steps=4, batch_size=3), (0, 0))]
    assert [len(b) for b in batches] == [3, 2, 3, 2]
    assert sorted(batches[0] + batches[1]) == sorted(batches[2] + batches[3]) == [0, 1, 2, 3, 4]
    assert batches != [b.tolist() for b in pool_batches(5, replace(DEFAULT, steps=4, batch_size=3), (0, 1))]


def test_each_pass_of_a_round_has_its_own_order() -> None:
    passes = [b.tolist() for b in pool_batches(20, replace(DEFAULT, steps=4, batch_size=20), (0, 0))]
    assert all(sorted(one) == list(range(20)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def taught_by(pool: torch.Tensor) -> Teacher:
    torch.manual_seed(1)
    return teacher(filled((3 * torch.randn(len(pool), 3)).tolist()), DEFAULT)


@pytest.mark.parametrize("nu", [None, 0.05])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_distillation_equals_a_plain_loop(server: Server, nu: float | None, optimizer: Any) -> None:
    how = Distillation(steps=5, lr=0.1, batch_size=4, clip_norm=nu, optimizer=optimizer)
    module, taught = copy.deepcopy(server.model.module), taught_by(server.pool)
    x, metrics = distil(server.model, server.model.weights(), server.pool, taught, how, (0, 3))
    make = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    plain = make(module.parameters(), lr=0.1)
    for batch in pool_batches(len(server.pool), how, (0, 3)):
        alpha = 0.2 + 0.6 * taught.entropy[batch].mean()
        logits = module(server.pool[batch])
        kl = F.kl_div(F.log_softmax(logits, -1), taught.probs[batch], reduction="batchmean")
        loss = alpha * kl + (1 - alpha) * F.cross_entropy(logits, taught.labels[batch])
        plain.zero_grad()
        loss.backward()
        if nu is not None:
            nn.utils.clip_grad_norm_(module.parameters(), nu)
        plain.step()
    torch.testing.assert_close(x.params, nn.utils.parameters_to_vector(module.parameters()), rtol=1e-4, atol=1e-5)
    assert metrics["clipped"] == (0.0 if nu is None else 1.0)
    assert metrics["alpha"] == pytest.approx(0.2 + 0.6 * metrics["entropy"], rel=1e-5)


def test_distillation_moves_the_student_to_the_teacher(server: Server) -> None:
    reachable = server.pool @ torch.tensor([[2.0, -1.0, 0.0], [0.0, 1.0, -2.0]])
    taught = teacher(filled(reachable.tolist()), DEFAULT)
    how = Distillation(steps=300, lr=1.0, batch_size=8, alpha_min=1.0, alpha_max=1.0)
    before = predict(server.model, server.model.weights(), server.pool, 3)
    x, _ = distil(server.model, server.model.weights(), server.pool, taught, how, (0, 0))
    after = predict(server.model, x, server.pool, 3)
    assert kl_from_logits(taught.probs, after).mean() < 0.01 * kl_from_logits(taught.probs, before).mean()


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batchnorm_statistics_while_distilling(mode: Any) -> None:
    model = FlatModel(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)))
    pool = 5 + torch.randn(8, 2)
    x, _ = distil(model, model.weights(), pool, taught_by(pool), Distillation(steps=2, batchnorm=mode), (0, 0))
    assert torch.equal(x.buffers, torch.tensor([0.0, 0.0, 1.0, 1.0])) == (mode == "eval")


def test_prediction_does_not_depend_on_the_batch_size(server: Server) -> None:
    one, all_ = (predict(server.model, server.model.weights(), server.pool, size) for size in (1, 100))
    torch.testing.assert_close(one, all_)


def test_prediction_uses_running_statistics_and_drops_nothing() -> None:
    # (u - 1) / 2 with the running mean 1 and variance 4; those of the batch are 2 and 4 and would give -1 and 1.
    norm = nn.BatchNorm1d(1, affine=False)
    model = FlatModel(nn.Sequential(norm, nn.Dropout(0.5), nn.Linear(1, 2, bias=False)))
    model.module.train()  # as local training leaves it
    version = Weights(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 4.0]))
    logits = predict(model, version, torch.tensor([[0.0], [4.0]]), 2)
    torch.testing.assert_close(logits, torch.tensor([[-0.5, 0.5], [1.5, -1.5]]), rtol=1e-4, atol=1e-4)  # eps is 1e-5
    assert model.buffers.tolist() == [1.0, 4.0]


# Controls


def test_images_can_count_by_certainty_or_agreement() -> None:
    sure, torn = [20.0, 0.0], [0.0, 0.0]
    bank = filled([sure, torn], [sure, [0.0, 1.0]], clients=3)
    certainty = teacher(bank, replace(DEFAULT, pool_weights="certainty"))
    assert certainty.weights is not None
    torch.testing.assert_close(certainty.weights, 1 - certainty.entropy)
    agreement = teacher(bank, replace(DEFAULT, pool_weights="agreement")).weights
    assert agreement is not None and agreement.tolist() == [1.0, 0.5]  # on the second image one client of two agrees
    assert teacher(bank, DEFAULT).weights is None


def test_weighted_loss_by_hand() -> None:
    student, probs = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    labels, alpha = torch.tensor([0, 1]), torch.tensor(1.0)  # the KLs are log 2 and 0
    loss = distillation_loss(student, probs, labels, alpha, DEFAULT, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(math.log(2) / 4)
    assert distillation_loss(student, probs, labels, alpha, DEFAULT, torch.zeros(2)).item() == 0.0
    equal = distillation_loss(student, probs, labels, alpha, DEFAULT, torch.full((2,), 0.3))
    torch.testing.assert_close(equal, distillation_loss(student, probs, labels, alpha, DEFAULT))


def test_a_corrupted_teacher_is_wrong_and_sure() -> None:
    honest = teacher(filled([[1.0, 0.0, 0.0]]), DEFAULT)
    wrong = corrupted(honest)
    assert wrong.labels.tolist() == [1] and wrong.probs.argmax(-1).tolist() == [1]
    torch.testing.assert_close(wrong.probs[0, 1] / wrong.probs[0, 0], torch.tensor(math.exp(10.0)))
    assert wrong.entropy.item() < honest.entropy.item()


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_one_model_as_a_teacher(average: Any) -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    taught = averaged_teacher(logits, replace(DEFAULT, average=average))
    torch.testing.assert_close(taught.probs, torch.tensor([[0.25, 0.75]]))
    assert taught.labels.tolist() == [1]


def test_one_model_is_softened_before_its_probabilities_teach() -> None:
    # e^(z / 2) = (3, 1); without the temperature it would be (9, 1).
    how = replace(DEFAULT, average="probabilities", temperature=2.0)
    taught = averaged_teacher(torch.tensor([[2 * math.log(3.0), 0.0]]), how)
    torch.testing.assert_close(taught.probs, torch.tensor([[0.75, 0.25]]))


def test_quantiles_of_the_norms_are_reported_on_demand() -> None:
    model = FlatModel(nn.Linear(1, 2, bias=False))
    pool, taught = (
        torch.ones(4, 1),
        Teacher(torch.tensor([[1.0, 0.0]] * 4), torch.zeros(4, dtype=torch.long), torch.zeros(4)),
    )
    plain = replace(DEFAULT, steps=3, lr=0.1)
    _, without = distil(model, model.weights(), pool, taught, plain, (0, 0))
    _, metrics = distil(model, model.weights(), pool, taught, replace(plain, norm_quantiles=True), (0, 0))
    assert set(metrics) - set(without) == {"gradient_norm_median", "gradient_norm_max"}
    assert metrics["gradient_norm_median"] <= metrics["gradient_norm_max"]
