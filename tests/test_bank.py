"""The bank, whole or by its largest entries, on numbers one can check by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fedecho.core.checks import InputError
from fedecho.learning.bank import Bank, bank_average, index_type, trimmed_mean
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import Server
from fedecho.learning.methods.fedbuff import FedBuff, fedbuff
from fedecho.learning.methods.fedecho import echo
from fedecho.learning.teacher import teacher
from tests.conftest import an_update, empty_bank, filled

CPU = torch.device("cpu")


def bank_of(rows: Tensor, **form: Any) -> Bank:
    """A bank in which client k uploaded `rows[k]` `[pool, ..., classes]` in round k."""
    bank = empty_bank(len(rows), rows.shape[1:], **form)
    for client, row in enumerate(rows):
        bank.store(client, row, client)
    return bank


# Dense rows


def test_bank_keeps_the_last_row_and_the_mean_of_all() -> None:
    bank = filled([[2.0, 0.0]], [[4.0, 2.0]])
    assert bank_average(bank, None).tolist() == [[3.0, 1.0]]
    bank.store(0, torch.tensor([[6.0, 6.0]]), 7)
    assert bank_average(bank, None).tolist() == [[5.0, 4.0]]
    assert bank.uploaded.tolist() == [7, 1, -1, -1] and bank.seen().tolist() == [True, True, False, False]


def test_dense_rows_are_not_copied() -> None:
    bank = filled([[2.0, 0.0]])
    assert bank.dense().data_ptr() == bank.parts[0].data_ptr()


def test_half_precision_rows_take_half_the_bytes_and_keep_three_digits() -> None:
    torch.manual_seed(0)
    banks = [empty_bank(4, (5, 3), dtype) for dtype in (torch.float32, torch.float16)]
    for t in range(40):
        row = 5 * torch.randn(5, 3)
        for bank in banks:
            bank.store(t % 4, row, t)
    assert banks[1].nbytes == banks[0].nbytes / 2
    for weights in (None, torch.tensor([1.0, 0.5, 0.0, 2.0])):
        one, two = (bank_average(bank, weights) for bank in banks)
        torch.testing.assert_close(one, two, rtol=0, atol=5e-3)
    torch.testing.assert_close(bank_average(banks[1], None), banks[1].dense().float().mean(0))


def test_running_mean_does_not_drift() -> None:
    torch.manual_seed(0)
    bank = Bank.empty(5, (3, 4), CPU)
    for t in range(2000):
        bank.store(t % 5, 100 * torch.randn(3, 4), t)
    torch.testing.assert_close(bank_average(bank, None), bank.dense().mean(0))


# Top-k rows


def test_dropped_logits_share_their_probability_evenly() -> None:
    # e^z = (6, 1, 2, 1): with k = 1 the other three share 4 of 10 in equal parts.
    bank = bank_of(torch.tensor([[[6.0, 1.0, 2.0, 1.0]]]).log(), top_k=1)
    torch.testing.assert_close(bank.dense().exp(), torch.tensor([[[6.0, 4 / 3, 4 / 3, 4 / 3]]]))
    torch.testing.assert_close(F.softmax(bank.dense(), -1)[0, 0, 1:], torch.full((3,), 0.4 / 3))


def test_dropped_probabilities_are_averaged() -> None:
    bank = bank_of(torch.tensor([[[0.125, 0.5, 0.25, 0.125]]]), top_k=1, holds="probabilities")
    torch.testing.assert_close(bank.dense(), torch.tensor([[[0.5 / 3, 0.5, 0.5 / 3, 0.5 / 3]]]))
    two = bank_of(torch.tensor([[[0.125, 0.5, 0.25, 0.125]]]), top_k=2, holds="probabilities")
    assert two.dense().tolist() == [[[0.125, 0.5, 0.25, 0.125]]]  # what is dropped was even already


def test_one_dropped_class_is_kept_exactly() -> None:
    rows = torch.tensor([[[3.0, -1.0, 2.0]], [[0.5, 0.25, 9.0]]])
    assert torch.equal(bank_of(rows, top_k=2).dense(), rows)


def test_a_new_row_leaves_nothing_of_the_last() -> None:
    bank = bank_of(torch.tensor([[[9.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 9.0]]]), top_k=1)
    bank.store(0, torch.zeros(1, 4), 5)
    torch.testing.assert_close(bank.dense()[0], torch.zeros(1, 4))
    torch.testing.assert_close(bank_average(bank, None), torch.tensor([[0.0, 0.0, 0.0, 4.5]]))


def test_majority_and_client_entropy_read_top_k_rows() -> None:
    rows = torch.tensor([[[1.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]], [[0.0, 0.0, 9.0]]])
    for changes in ({"hard_label": "majority"}, {"entropy_of": "clients"}):
        how = Distillation(**changes)  # type: ignore[arg-type]
        one, two = (teacher(bank_of(rows, top_k=k), how) for k in (None, 1))
        torch.testing.assert_close(one.entropy, two.entropy)
        assert one.labels.tolist() == two.labels.tolist()


@pytest.mark.parametrize(
    ("classes", "kind"),
    [(2, torch.uint8), (256, torch.uint8), (257, torch.int16), (32768, torch.int16), (32769, torch.int32)],
)
def test_indices_are_as_small_as_the_classes_allow(classes: int, kind: torch.dtype) -> None:
    assert index_type(classes) == kind


def test_the_last_class_can_be_named() -> None:
    for classes in (256, 257, 32768, 32769):
        row = torch.zeros(1, 1, classes)
        row[..., -1] = 5.0
        assert bank_of(row, top_k=1).dense().argmax() == classes - 1


@pytest.mark.parametrize("name", ["top_k", "labels"])
@pytest.mark.parametrize(("count", "allowed"), [(0, "a whole number >= 1"), (-1, "a whole number"), (4, "1 to 3")])
def test_impossible_numbers_of_kept_classes(name: str, count: int, allowed: str) -> None:
    with pytest.raises(InputError, match=f"bank_{name} = {count} is not usable: give {allowed}") as caught:
        empty_bank(2, (2, 3), **{name: count})
    assert "\n" not in str(caught.value)


def test_one_truncation_at_a_time() -> None:
    with pytest.raises(InputError, match="bank_labels = 2 .* bank_top_k = 1 .* one of them") as caught:
        Distillation(bank_top_k=1, bank_labels=2)
    assert "\n" not in str(caught.value)


def test_fedecho_asks_for_its_own_form(server: Server) -> None:
    how = Distillation(steps=1, bank_top_k=1, bank_dtype="float16", average="probabilities")
    method, x = echo(fedbuff(FedBuff()), server, how), server.model.weights()
    state = method.receive(method.init(x, 6), an_update([0.1] * len(x.params), client=2, start=x))
    bank = method.close_round(state, x)[0].bank
    assert (bank.dtype, bank.holds, bank.nbytes) == (torch.float16, "probabilities", 6 * 8 * (2 + 1 + 2))
    torch.testing.assert_close(bank.dense()[2].float().sum(-1), torch.ones(8), rtol=0, atol=2e-3)


def test_finite_rows_are_kept_even_where_their_sum_is_not() -> None:
    bank = Bank.empty(2, (2, 3), CPU)
    assert bank.can_keep(torch.full((2, 3), 3e38))
    assert not bank.can_keep(torch.tensor([[1.0, torch.inf, -torch.inf], [0.0, 0.0, 0.0]]))
    assert not bank.can_keep(torch.tensor([[1.0, torch.nan, 0.0], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 7e4])
def test_what_half_precision_cannot_keep(bad: float) -> None:
    bank, row = empty_bank(1, (2, 3), torch.float16, labels=1), torch.zeros(2, 3)
    assert bank.can_keep(row)
    row[1, 2] = bad
    assert not bank.can_keep(row)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_huge_row_of_either_sign_leaves_the_sum_exact(sign: float) -> None:
    bank = Bank.empty(2, (1, 2), CPU)
    bank.store(0, torch.tensor([[0.1, 0.2]]), 0)
    bank.store(1, torch.tensor([[sign * 1e30, 1.0]]), 0)
    bank.store(1, torch.tensor([[0.5, 0.5]]), 1)
    torch.testing.assert_close(bank.total, torch.tensor([[0.1, 0.2]]).double() + 0.5)


# Robust means of the rows

FIVE = [[0.0, 9.0], [1.0, -50.0], [2.0, 7.0], [4.0, 8.0], [1000.0, 6.0]]


@pytest.mark.parametrize(
    ("count", "trim", "wanted"),
    [
        (5, 0.0, [201.4, -4.0]),  # the mean
        (5, 0.19, [201.4, -4.0]),  # less than one of five
        (5, 0.2, [7 / 3, 7.0]),  # without 0 and 1000, and without -50 and 9
        (5, 0.4, [2.0, 7.0]),
        (5, 0.5, [2.0, 7.0]),  # the median
        (4, 0.5, [1.5, 7.5]),  # of an even number: halfway between the two in the middle
        (2, 0.5, [0.5, -20.5]),
        (1, 0.5, [0.0, 9.0]),
    ],
)
def test_trimmed_mean_by_hand(count: int, trim: float, wanted: list[float]) -> None:
    torch.testing.assert_close(trimmed_mean(torch.tensor(FIVE[:count]), trim), torch.tensor(wanted))


NUMBERS = st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=9)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(NUMBERS, st.floats(0, 0.5), st.randoms(use_true_random=False))
def test_a_trimmed_mean_does_not_depend_on_the_order_of_clients(rows: list[list[float]], trim: float, any: Any) -> None:
    mean, shuffled = trimmed_mean(torch.tensor(rows), trim), list(rows)
    any.shuffle(shuffled)
    assert torch.equal(mean, trimmed_mean(torch.tensor(shuffled), trim))
    assert bool((torch.tensor(rows).amin(0) - 1e-4 <= mean).all() and (mean <= torch.tensor(rows).amax(0) + 1e-4).all())


def test_a_few_wild_rows_do_not_move_a_trimmed_teacher() -> None:
    rows = torch.tensor([[[1.0, 0.0]]] * 7 + [[[-1e6, 1e6]]] * 3)
    bank = bank_of(rows)
    assert teacher(bank, Distillation()).labels.tolist() == [1]
    for trim in (0.3, 0.5):
        taught = teacher(bank, Distillation(trim=trim))
        assert taught.labels.tolist() == [0]
        torch.testing.assert_close(taught.probs, torch.tensor([[1.0, 0.0]]).softmax(-1))
    assert teacher(bank, Distillation(trim=0.2)).labels.tolist() == [1]  # one wild row of each end is left


def test_only_rows_that_teach_are_sorted() -> None:
    bank = Bank.empty(6, (1, 2), CPU)  # three of six have uploaded, and two of these may teach
    for client, row in enumerate(([[5.0, 0.0]], [[1.0, 0.0]], [[3.0, 0.0]])):
        bank.store(client, torch.tensor(row), client)
    how = Distillation(trim=0.5)
    torch.testing.assert_close(teacher(bank, how).probs, torch.tensor([[3.0, 0.0]]).softmax(-1))
    weights = torch.tensor([1.0, 1.0, 0, 0, 0, 0])
    torch.testing.assert_close(teacher(bank, how, weights).probs, torch.tensor([[3.0, 0.0]]).softmax(-1))
    weights = torch.tensor([0.0, 1.0, 0, 0, 0, 0])
    torch.testing.assert_close(teacher(bank, how, weights).probs, torch.tensor([[1.0, 0.0]]).softmax(-1))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"average": "probabilities"}, "average"), ({"source": "average"}, "source"),
        ({"bank_decay": 0.9}, "bank_decay"),
        ({"bank_top_k": 2}, "bank_top_k"), ({"bank_labels": 2}, "bank_labels"),
        ({"prior_correction": 0.5}, "trim"),
        ({"energy_weight": 1.0}, "trim"), ({"teacher_weights": "label counts"}, "trim"), ({"trim": 0.6}, "trim"),
        ({"trim": -0.1}, "trim"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_trimming_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = ") as caught:
        Distillation(**{"trim": 0.3, **changes})
    assert "\n" not in str(caught.value)
