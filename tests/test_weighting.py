"""Weightings of the bank's average: by hand, what they promise, and what can be said of them beforehand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fedecho.core.checks import InputError
from fedecho.core.config import config_hash, override_all
from fedecho.learning import bank as bank_module
from fedecho.learning.bank import Bank
from fedecho.learning.cost import work
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import FedEcho
from fedecho.learning.teacher import teacher
from fedecho.learning.weighting import (
    FLOOR,
    Evidence,
    class_priors,
    log_priors,
    shares,
    standard_energies,
    weighted_mean,
)
from tests.conftest import empty_bank
from tests.test_experiment import tiny

CPU = torch.device("cpu")
COUNTS = torch.tensor([[3.0, 1.0, 0.0], [1.0, 3.0, 0.0], [4.0, 4.0, 0.0]])
WAYS: list[dict[str, Any]] = [
    {"prior_correction": 0.5}, {"prior_correction": 2.0}, {"energy_weight": 1.0}, {"energy_weight": 3.0},
    {"prior_correction": 0.5, "energy_weight": 3.0}, {"teacher_weights": "label counts"},
    {"teacher_weights": "seen prior"}, {"teacher_weights": "fedaux"},
]  # fmt: skip
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
NUMBERS = st.lists(st.floats(-20, 20, width=32), min_size=24, max_size=24)
ROWS = NUMBERS.map(lambda numbers: torch.tensor(numbers).view(3, 4, 2))
"""Three clients, four images, two classes."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def report_of(client: int, shape: tuple[int, ...], how: Distillation) -> Tensor:
    """What a client sends where it is asked for anything: certainties, or label counts with a class it lacks."""
    if how.teacher_weights == "fedaux":
        return torch.linspace(0.1, 0.9, shape[0]).roll(client)
    return torch.arange(float(shape[-1])).roll(client)


def taught(rows: Tensor, weights: Tensor | None = None, form: dict[str, Any] | None = None, **way: Any) -> Tensor:
    """log p `[pool, ..., classes]` of the teacher of a bank with these rows `[clients, pool, ..., classes]`."""
    how = Distillation(**way)
    bank = empty_bank(len(rows), rows.shape[1:], **form or {})
    evidence = Evidence.empty(len(rows), rows.shape[1:], how, CPU)
    for client, row in enumerate(rows):
        bank.store(client, row, client)
        if evidence is not None:
            evidence.note(client, bank.row(client), how)
            if how.teacher_weights in ("fedaux", "label counts"):
                evidence.hear(client, report_of(client, rows.shape[1:], how))
    return teacher(bank, how, weights, evidence).probs.clamp_min(1e-30).log()


def same(one: Tensor, other: Tensor, **far: Any) -> None:
    torch.testing.assert_close(one.exp(), other.exp(), **far or {"rtol": 1e-4, "atol": 1e-5})


# By hand


def test_priors_are_mean_probabilities_of_the_pool() -> None:
    # One client: (3/4, 1/4) and (1/4, 3/4); another: (9/10, 1/10) twice.
    rows = torch.tensor([[[3.0, 1.0], [1.0, 3.0]], [[9.0, 1.0], [9.0, 1.0]]]).log()
    torch.testing.assert_close(class_priors(rows), torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    # At temperature 1/2 odds are squared: 81 to 1.
    torch.testing.assert_close(class_priors(rows, 0.5)[1], torch.tensor([81 / 82, 1 / 82]))
    sure = torch.tensor([[[0.0, -50.0]]])
    assert log_priors(sure).tolist() == [[0.0, pytest.approx(math.log(FLOOR))]]


def test_prior_correction_by_hand() -> None:
    # Odds 1 : 3 of a client that is even over the pool stay; 9 : 1 of one that says so of every image are taken away.
    rows = torch.tensor([[[1.0, 3.0], [3.0, 1.0]], [[9.0, 1.0], [9.0, 1.0]]]).log()
    odds = {strength: taught(rows, prior_correction=strength)[0].exp() for strength in (0.0, 0.5, 1.0)}
    for strength, square in ((0.0, 9 / 3), (0.5, 3 / 3), (1.0, 1 / 3)):  # the teacher's odds are the root of a product
        assert float(odds[strength][0] / odds[strength][1]) == pytest.approx(math.sqrt(square))


def test_energies_by_hand() -> None:
    # e^z sum to 2, 2, 2, 2 e^4: one image stands out by three deviations of 4 / sqrt(16/3), the others lie below.
    rows = torch.zeros(1, 4, 2)
    rows[0, 3] = 4.0
    expected = torch.tensor([[-1.0, -1.0, -1.0, 3.0]]) / math.sqrt(3)
    torch.testing.assert_close(standard_energies(rows), expected)
    assert standard_energies(torch.full((2, 3, 4), 7.3)).tolist() == [[0.0] * 3] * 2  # the same everywhere
    assert standard_energies(torch.ones(1, 1, 2)).tolist() == [[0.0]]  # and a pool of one


def test_weights_by_hand() -> None:
    weights = shares(COUNTS.log(), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25, 0.5], [0.25, 0.75, 0.5], [0.0, 0.0, 0.0]]))
    rows = torch.tensor([[[4.0, 0.0, 2.0]], [[0.0, 8.0, 4.0]], [[9.0, 9.0, 9.0]]])
    torch.testing.assert_close(weighted_mean(rows, weights.unsqueeze(1)), torch.tensor([[3.0, 6.0, 3.0]]))
    biases = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(weighted_mean(rows, weights.unsqueeze(1), biases), torch.tensor([[0.0, 3.0, 3.0]]))


def test_what_clients_send_weighs_their_rows() -> None:
    for how, report, expected in (
        ("fedaux", [[0.75, 0.5], [0.25, 0.5]], [[3.0, 0.0], [2.0, 0.0]]),  # by image
        ("label counts", [[6.0, 1.0], [2.0, 1.0]], [[3.0, 0.0], [3.0, 0.0]]),  # by class
    ):
        settings = Distillation(teacher_weights=how)  # type: ignore[arg-type]
        bank, evidence = Bank.empty(2, (2, 2), CPU), Evidence.empty(2, (2, 2), settings, CPU)
        assert evidence is not None
        for client, row in enumerate([[4.0, 0.0], [0.0, 0.0]]):
            bank.store(client, torch.tensor([row, row]), client)
            evidence.hear(client, torch.tensor(report[client]))
        logs = teacher(bank, settings, None, evidence).probs.log()
        torch.testing.assert_close(logs[:, 0] - logs[:, 1], torch.tensor(expected)[:, 0])


# What every weighting promises


@given(ROWS, st.floats(0, 5))
@settings(deadline=None, max_examples=40)
def test_weights_sum_to_one_and_priors_too(rows: Tensor, beta: float) -> None:
    z = standard_energies(rows)
    torch.testing.assert_close(shares(beta * z, torch.ones(3)).sum(0), torch.ones(4))
    torch.testing.assert_close(shares(rows, torch.tensor([1.0, 0.0, 0.5])).sum(0), torch.ones(4, 2))
    torch.testing.assert_close(class_priors(rows).sum(1), torch.ones(3))
    torch.testing.assert_close(z.double().sum(1), torch.zeros(3).double(), rtol=0, atol=1e-4)


@given(ROWS)
@settings(deadline=None, max_examples=40)
def test_no_strength_is_the_plain_mean(rows: Tensor) -> None:
    even = shares(0 * standard_energies(rows), torch.ones(3))
    assert torch.equal(even, torch.full((3, 4), 1 / 3))
    torch.testing.assert_close(weighted_mean(rows, even.unsqueeze(-1), 0 * log_priors(rows)), rows.mean(0))
    for equal in (torch.full((3, 2), 7.0), torch.full((3, 2), 0.0)):  # counts or certainties that are all alike
        torch.testing.assert_close(weighted_mean(rows, shares(equal.log(), torch.ones(3)).unsqueeze(1)), rows.mean(0))


def test_the_default_has_no_evidence_and_the_running_sum_of_fedecho() -> None:
    rows = random(3, 4, 5)
    assert Evidence.empty(3, (4, 5), Distillation(), CPU) is None
    plain = taught(rows)
    assert torch.equal(plain, rows.mean(0, dtype=torch.float64).float().softmax(-1).log())
    same(taught(rows, prior_correction=1e-9), plain)
    same(taught(rows, energy_weight=1e-9), plain)


def test_defaults_leave_every_hash_as_it_was() -> None:
    config = tiny(FedEcho())
    assert config_hash(config) == config_hash(override_all(config, {f"method.distill.{k}": v for k, v in {
        "prior_correction": 0.0, "energy_weight": 0.0, "teacher_weights": "equal"}.items()}))  # fmt: skip


@every_way
def test_the_order_of_the_clients_is_nothing(way: dict[str, Any]) -> None:
    rows, order = random(3, 4, 5), torch.tensor([2, 0, 1])
    bank_of = [taught(rows, **way)]
    how = Distillation(**way)
    bank, evidence = Bank.empty(3, (4, 5), CPU), Evidence.empty(3, (4, 5), how, CPU)
    assert evidence is not None
    for place, client in enumerate(order.tolist()):
        bank.store(place, rows[client], 0)
        evidence.note(place, rows[client], how)
        if how.teacher_weights in ("fedaux", "label counts"):
            evidence.hear(place, report_of(client, (4, 5), how))
    bank_of.append(teacher(bank, how, None, evidence).probs.log())
    same(*bank_of)


@every_way
def test_a_constant_is_nothing_where_the_weights_do_not_depend_on_the_class(way: dict[str, Any]) -> None:
    rows = random(3, 4, 5)
    moved = rows + torch.tensor([5.0, -2.0, 30.0]).view(3, 1, 1)
    by_class = way.get("teacher_weights") in ("label counts", "seen prior")
    assert torch.allclose(taught(moved, **way).exp(), taught(rows, **way).exp(), atol=1e-4) != by_class
    # A constant of each image changes its energy, but neither priors nor certainties.
    uneven = rows + random(3, 4, 1, seed=1)
    untouched = not by_class and "energy_weight" not in way
    assert torch.allclose(taught(uneven, **way).exp(), taught(rows, **way).exp(), atol=1e-4) == untouched


@every_way
def test_rows_of_no_weight_do_not_count(way: dict[str, Any]) -> None:
    rows = random(3, 4, 5)
    same(taught(rows, torch.tensor([0.5, 0.5, 0.0]), **way), taught(rows[:2], **way))


@every_way
def test_only_new_rows_are_looked_at(way: dict[str, Any]) -> None:
    how, old, new = Distillation(**way), random(3, 4, 5), random(3, 4, 5, seed=1)
    bank, evidence = Bank.empty(3, (4, 5), CPU), Evidence.empty(3, (4, 5), how, CPU)
    assert evidence is not None
    for client, row in [*enumerate(old), *enumerate(new)]:
        bank.store(client, row, 0)
        evidence.note(client, row, how)
        if how.teacher_weights in ("fedaux", "label counts"):
            evidence.hear(client, report_of(client, (4, 5), how))
    same(teacher(bank, how, None, evidence).probs.log(), taught(new, **way))


# Forms of the bank


@every_way
@pytest.mark.parametrize("entries", [10**6, 60, 1], ids=["whole", "two inputs at a time", "one"])
def test_positions_and_blocks_are_so_many_rows(
    way: dict[str, Any], entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random(3, 5, 2, 4)
    flat = rows.view(3, 10, 4)
    if way.get("teacher_weights") == "fedaux":  # one certainty a text
        expected = torch.stack([taught(rows[:, :, k], **way) for k in (0, 1)], 1)
    else:
        expected = taught(flat, **way).view(5, 2, 4)
    monkeypatch.setattr(bank_module, "_BLOCK", entries)
    same(taught(rows, **way), expected)


@every_way
def test_half_precision_gives_three_digits(way: dict[str, Any]) -> None:
    rows = random(3, 4, 5)
    same(taught(rows, form={"dtype": torch.float16}, **way), taught(rows, **way), rtol=0, atol=0.02)


@pytest.mark.parametrize("form", [{"top_k": 2}, {"labels": 2}], ids=str)
def test_truncated_rows_have_the_energy_and_the_prior_of_what_they_keep(form: dict[str, Any]) -> None:
    row, bank = random(1, 3, 5), empty_bank(1, (3, 5), **form)
    bank.store(0, row[0], 0)
    torch.testing.assert_close(standard_energies(bank.dense()), standard_energies(row))
    kept = class_priors(bank.dense())[0]
    if "labels" in form:
        torch.testing.assert_close(kept[:2], class_priors(row)[0, :2])
        torch.testing.assert_close(kept[2:], ((1 - kept[:2].sum()) / 3).expand(3))
    torch.testing.assert_close(kept.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("form", [{"bank_top_k": 2}, {"bank_labels": 2}], ids=str)
def test_where_nothing_is_lost_truncation_changes_no_weighting(form: dict[str, Any]) -> None:
    rows = random(3, 4, 2).repeat_interleave(torch.tensor([1, 4]), -1)
    rows[..., 0] += 50  # the largest and the first; the other four are alike
    for way in ({"prior_correction": 0.5}, {"energy_weight": 2.0}, {"teacher_weights": "label counts"}):
        name, count = next(iter(form.items()))
        same(taught(rows, form={name.removeprefix("bank_"): count}, **form, **way), taught(rows, **way))


def test_the_numbers_kept_are_those_of_the_formula() -> None:
    config = tiny(FedEcho())
    size, clients = config.data.pool_size, config.protocol.clients
    for way, numbers in zip(WAYS, (10, 10, size, size, size + 10, 10, 10, size), strict=True):
        how = Distillation(**way)
        weighted = override_all(config, {f"method.distill.{name}": value for name, value in way.items()})
        evidence = Evidence.empty(clients, (size, 10), how, CPU)
        assert evidence is not None
        kept = [part for part in (evidence.log_priors, evidence.scores) if part is not None]
        assert sum(part.numel() for part in kept) == clients * numbers == clients * work.evidence(weighted)
        more = work.predicted_bytes(weighted)["state"] - work.predicted_bytes(config)["state"]
        assert more == 4 * clients * numbers


def test_all_rows_are_read_only_where_weights_need_them() -> None:
    config = tiny(FedEcho())
    arrivals, clients = config.protocol.buffer_size, config.protocol.clients
    entries = config.data.pool_size * 10
    assert work.work(override_all(config, {"method.distill.prior_correction": 0.5}))["bank"] == (arrivals + 1) * entries
    for way in ({"energy_weight": 1.0}, {"teacher_weights": "label counts"}):
        changed = override_all(config, {f"method.distill.{name}": value for name, value in way.items()})
        assert work.work(changed)["bank"] == (arrivals + clients) * entries


# What can be said beforehand


def under_shift(likelihood: Tensor, priors: Tensor) -> Tensor:
    """Rows `[clients, pool, classes]` of clients that are right about their own data."""
    return likelihood.log() + priors.log().unsqueeze(1)


LIKELIHOOD = torch.tensor([[8.0, 1.0, 1.0], [1.0, 8.0, 1.0], [1.0, 1.0, 8.0]]) / 10


def test_under_label_shift_the_teacher_has_a_power_of_the_clients_mean_prior() -> None:
    priors = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    rows = under_shift(LIKELIHOOD, priors)
    for strength in (0.0, 0.5, 1.0):
        mean = weighted_mean(rows, torch.full((2, 1, 1), 0.5), strength * priors.log()).softmax(-1)
        expected = LIKELIHOOD * priors.prod(0) ** ((1 - strength) / 2)
        torch.testing.assert_close(mean, expected / expected.sum(-1, keepdim=True))


def test_where_all_hold_the_same_skewed_classes_correction_loses_the_true_prior() -> None:
    prior = torch.tensor([0.8, 0.1, 0.1])
    rows = under_shift(LIKELIHOOD, prior.expand(3, 3))
    kept = weighted_mean(rows, torch.full((3, 1, 1), 1 / 3)).softmax(-1)
    torch.testing.assert_close(kept, (LIKELIHOOD * prior / (LIKELIHOOD * prior).sum(-1, keepdim=True)))
    lost = weighted_mean(rows, torch.full((3, 1, 1), 1 / 3), prior.log().expand(3, 3)).softmax(-1)
    torch.testing.assert_close(lost, LIKELIHOOD / LIKELIHOOD.sum(-1, keepdim=True))


def outvoted(owned_last: bool = False) -> Tensor:
    """Five clients, ten images of which one has class 1: one client knows it, four say that it has class 0 anyway.

    Margins of class 0 over 1: the owner -2 on that image and 2 elsewhere; the others 4 on it and 6 elsewhere.
    """
    margins = torch.tensor([[-2.0] + 9 * [2.0], *4 * [[4.0] + 9 * [6.0]]])
    rows = torch.stack([margins, torch.zeros_like(margins)], -1)
    return rows.flip(1) if owned_last else rows


def margins_at(strength: float, rows: Tensor) -> Tensor:
    logs = taught(rows, prior_correction=strength)
    return logs[:, 0] - logs[:, 1]


def test_margins_are_linear_in_the_strength_with_one_slope_for_all_images() -> None:
    rows = outvoted()
    priors = log_priors(rows)
    slope = (priors[:, 0] - priors[:, 1]).mean()
    for strength in (0.25, 0.5, 1.0, 1.5):
        moved = margins_at(strength, rows) - margins_at(0.0, rows)
        torch.testing.assert_close(moved, -strength * slope.expand(10), rtol=1e-4, atol=1e-4)


def test_half_of_the_correction_can_be_right_where_none_and_all_of_it_are_wrong() -> None:
    # At 0 the margins are (-2 + 4 * 4) / 5 = 2.8 and (2 + 4 * 6) / 5 = 5.2.
    at = {strength: margins_at(strength, outvoted()) for strength in (0.0, 0.75, 1.25)}
    assert at[0.0][0].item() == pytest.approx(2.8, abs=1e-4) and at[0.0][1].item() == pytest.approx(5.2, abs=1e-4)
    right = {strength: ((margins[0] < 0).item(), (margins[1:] > 0).all().item()) for strength, margins in at.items()}
    assert right == {0.0: (False, True), 0.75: (True, True), 1.25: (True, False)}


def test_the_strength_is_no_function_of_the_bank() -> None:
    # The same rows, whichever image has the class that only one client owns: no statistic over U can tell.
    one, other = outvoted(), outvoted(owned_last=True)
    assert torch.equal(one.sort(1).values, other.sort(1).values)
    torch.testing.assert_close(log_priors(one), log_priors(other))


def test_a_client_that_tells_classes_apart_shows_the_shares_of_the_pool_and_not_its_own() -> None:
    sure = torch.tensor([[[30.0, 0.0], [30.0, 0.0], [30.0, 0.0], [0.0, 30.0]]])
    skewed = sure + torch.tensor([5.0, 0.0])  # whatever it holds
    for rows in (sure, skewed):
        torch.testing.assert_close(class_priors(rows), torch.tensor([[0.75, 0.25]]))


def test_a_class_that_the_pool_lacks_is_raised_on_every_image_up_to_the_floor() -> None:
    rows = torch.tensor([[[20.0, 0.0, -9.0], [0.0, 20.0, -9.0]]])
    logs = [taught(rows, prior_correction=strength) for strength in (0.0, 1.0)]
    raised = (logs[1] - logs[0])[:, 2] - (logs[1] - logs[0])[:, 0]
    torch.testing.assert_close(raised, torch.full((2,), math.log(0.5 / FLOOR)), rtol=1e-3, atol=1e-3)


def with_faulty(size: float) -> Tensor:
    """Nine clients that say class 0 of eight images, and one that says class 1 of the first, as loudly as it may."""
    rows = torch.zeros(10, 8, 2)
    rows[:9, :, 0] = 3 + torch.linspace(0, 0.1, 8)
    rows[9, 0, 1] = size
    return rows


def test_a_faulty_client_decides_where_it_is_sure_by_energy_and_not_by_prior_correction() -> None:
    rows = with_faulty(10.0)  # in FedEcho's mean 10 against 9 * 3
    assert taught(rows)[0].argmax() == 0 and taught(rows, prior_correction=0.5)[0].argmax() == 0
    assert taught(rows, energy_weight=3.0)[0].argmax() == 1
    shouted = with_faulty(100.0)  # neither is safe from any size of logits: each has a weight of 1 / N
    assert taught(shouted)[0].argmax() == 1 and taught(shouted, prior_correction=0.5)[0].argmax() == 1


# Bad input


@pytest.mark.parametrize(("given", "words"), [
    ({"prior_correction": -0.1}, r"prior_correction = -0.1 .* a number in \[0, 2\]"),
    ({"prior_correction": 2.1}, r"prior_correction = 2.1 .* a number in \[0, 2\]"),
    ({"energy_weight": -1.0}, "energy_weight = -1.0 .* a number >= 0"),
    ({"energy_weight": math.inf}, "energy_weight = inf .* finite"),
    ({"teacher_weights": "loud"}, "teacher_weights = 'loud' .* equal, fedaux, label counts, seen prior"),
    ({"teacher_weights": "fedaux", "prior_correction": 1.0}, "prior_correction = 1.0 .* fedaux weighs .* give 0"),
    ({"teacher_weights": "seen prior", "energy_weight": 1.0}, "energy_weight = 1.0 .* seen prior weighs .* give 0"),
    ({"prior_correction": 1.0, "average": "probabilities"}, "average = 'probabilities' .* logits"),
    ({"teacher_weights": "label counts", "average": "probabilities"}, "average = 'probabilities' .* logits"),
    ({"prior_correction": 1.0, "source": "average"}, "source = 'average' .* leave it at bank"),
    ({"energy_weight": 1.0, "entropy_of": "clients"}, "entropy_of = 'clients' .* leave it at teacher"),
    ({"energy_weight": 1.0, "hard_label": "majority"}, "hard_label = 'majority' .* leave it at teacher"),
    ({"energy_weight": 1.0, "pool_weights": "agreement"}, "pool_weights = 'agreement' .* equal or certainty"),
    ({"teacher_weights": "seen prior", "bank_top_k": 2}, "teacher_weights = 'seen prior' .* truncated rows"),
    ({"teacher_weights": "seen prior", "bank_labels": 2}, "teacher_weights = 'seen prior' .* truncated rows"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Distillation(**given)
    assert "\n" not in str(caught.value)


def test_a_pool_that_cannot_tell_is_refused_before_any_work() -> None:
    config = tiny(FedEcho())
    with pytest.raises(InputError, match="energy_weight = 1.0 .* 1 image have no spread"):
        override_all(config, {"data.pool_size": 1, "method.distill.energy_weight": 1.0})
    own = {"data.name": "austen", "data.task": "generation", "data.pool": "self", "method.distill.warmup_rounds": 1}
    with pytest.raises(InputError, match="teacher_weights = 'fedaux' .* from the start"):
        override_all(config, {**own, "method.distill.teacher_weights": "fedaux"})
    assert override_all(config, {"data.pool_size": 1, "method.distill.prior_correction": 1.0})
    assert override_all(config, {**own, "method.distill.energy_weight": 1.0, "data.pool_size": 1})
