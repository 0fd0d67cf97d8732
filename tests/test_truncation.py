"""What truncation does to the entropy of a prediction, and to a teacher made of many."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedecho.learning.truncation import (
    entropy_error_bound,
    first,
    kept_probabilities,
    largest,
    rebuilt,
    truncated_entropy,
)

both = pytest.mark.parametrize("cut", [largest, first])
numbers = st.floats(-30, 30)
CUTS = st.integers(2, 9).flatmap(lambda c: st.tuples(st.lists(numbers, min_size=c, max_size=c), st.integers(1, c - 1)))
BANKS = st.tuples(st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 5))
EPS = 1e-9


def entropy(probs: Tensor) -> Tensor:
    total: Tensor = torch.special.entr(probs).sum(-1)
    return total


def logits(*probs: float) -> Tensor:
    return torch.tensor(probs, dtype=torch.float64).log()


@both
@settings(deadline=None)
@given(CUTS)
def test_the_entropy_of_a_truncated_row_is_at_most_t_log_d_too_large(cut: Any, case: tuple[list[float], int]) -> None:
    row, k = torch.tensor(case[0], dtype=torch.float64), case[1]
    parts, dropped = cut(row, k), len(row) - k
    kept, tail = kept_probabilities(parts, len(row))
    estimate, bound = truncated_entropy(kept, tail, dropped), entropy_error_bound(tail, dropped)
    torch.testing.assert_close(estimate, entropy(rebuilt(parts, len(row)).softmax(-1)))
    torch.testing.assert_close(kept.sum() + tail, torch.tensor(1.0, dtype=torch.float64))
    error = estimate - entropy(row.softmax(-1))
    assert -EPS <= error <= bound + EPS


@both
def test_both_ends_of_the_bound(cut: Any) -> None:
    even, single = logits(0.7, 0.1, 0.1, 0.1), logits(0.7, 0.3, 1e-300, 1e-300)
    for row, share in ((even, 0.0), (single, 1.0)):
        kept, tail = kept_probabilities(cut(row, 1), 4)
        bound = entropy_error_bound(tail, 3)
        assert bound.item() == pytest.approx(0.3 * math.log(3))
        error = truncated_entropy(kept, tail, 3) - entropy(row.softmax(-1))
        assert error.item() == pytest.approx(share * 0.3 * math.log(3), abs=1e-9)


def test_a_single_dropped_class_costs_nothing() -> None:
    kept, tail = kept_probabilities(first(logits(0.25, 0.25, 0.5), 2), 3)
    assert tail.item() == pytest.approx(0.5) and entropy_error_bound(tail, 1).item() == 0.0
    assert truncated_entropy(kept, tail, 1).item() == pytest.approx(1.5 * math.log(2))


def test_every_row_has_its_own_bound() -> None:
    rows = torch.stack([logits(0.7, 0.1, 0.1, 0.1), logits(0.4, 0.2, 0.2, 0.2)]).expand(3, 2, 4)
    kept, tail = kept_probabilities(largest(rows, 1), 4)
    assert kept.shape == (3, 2, 1)
    torch.testing.assert_close(tail, torch.tensor([0.3, 0.6], dtype=torch.float64).expand(3, 2))
    assert truncated_entropy(kept, tail, 3).shape == entropy_error_bound(tail, 3).shape == (3, 2)


# A teacher of many rows


@settings(deadline=None)
@given(BANKS)
def test_the_bound_holds_for_the_mean_of_probabilities_of_a_label_subset(case: tuple[list[list[float]], int]) -> None:
    rows, m = torch.tensor(case[0], dtype=torch.float64).softmax(-1), case[1]
    parts, dropped = first(rows, m, "probabilities"), 6 - m
    mean_tail = rows[:, m:].sum(-1).mean()
    error = entropy(rebuilt(parts, 6).mean(0)) - entropy(rows.mean(0))
    assert -EPS <= error <= entropy_error_bound(mean_tail, dropped) + EPS


@settings(deadline=None)
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
    bound = entropy_error_bound(1 - apart.softmax(-1)[:, 0], 2).mean()
    assert entropy(cut) - entropy(whole) > 9 * bound


@pytest.mark.parametrize("holds", ["logits", "probabilities"])
def test_a_mean_of_top_k_rows_can_be_surer_than_that_of_whole_ones(holds: Any) -> None:
    rows = logits(9, 1, 1, 1) - math.log(12), logits(1, 9, 8, 9) - math.log(27)
    given_rows = torch.stack(rows) if holds == "logits" else torch.stack(rows).exp()
    means = [z.mean(0) for z in (given_rows, rebuilt(largest(given_rows, 1, holds), 4))]
    whole, cut = (entropy(z.softmax(-1) if holds == "logits" else z) for z in means)
    assert cut < whole - 0.05
