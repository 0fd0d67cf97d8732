"""Local SGD on flat vectors: equal to torch's own loop, on numbers one can check by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedecho.core.settings import Local
from fedecho.learning.client import ClientData, batches, sgd
from fedecho.learning.flat import FlatModel, Weights
from tests.conftest import EMPTY, an_update

KEY = (0, 1, 2)


def client(count: int, features: int = 3, classes: int = 2) -> ClientData:
    generator = torch.Generator().manual_seed(count)
    return ClientData(torch.randn(count, features, generator=generator), torch.arange(count) % classes, EMPTY)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_torch_sgd(weight_decay: float) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    reference = copy.deepcopy(module)
    local, data = Local(lr=0.2, epochs=2, batch_size=2, weight_decay=weight_decay), client(5)
    model = FlatModel(module)
    result, steps = sgd(model, model.weights(), data, local, KEY)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.2, weight_decay=weight_decay)
    for batch in batches(5, local, KEY):
        optimizer.zero_grad()
        F.cross_entropy(reference(data.images[batch]), data.labels[batch]).backward()
        optimizer.step()
    assert steps == 6
    torch.testing.assert_close(result.params, nn.utils.parameters_to_vector(reference.parameters()))


def test_last_partial_batch_is_kept_and_every_epoch_sees_every_image() -> None:
    sizes = [batch.tolist() for batch in batches(5, Local(epochs=2, batch_size=2), KEY)]
    assert [len(batch) for batch in sizes] == [2, 2, 1, 2, 2, 1]
    assert sorted(sum(sizes[:3], [])) == sorted(sum(sizes[3:], [])) == [0, 1, 2, 3, 4]
    assert sizes[:3] != sizes[3:]


def linear(value: float) -> FlatModel:
    """A model without data dependence: two logits w * 0, so only decay, correction and proximal term act."""
    layer = nn.Linear(1, 2, bias=False)
    nn.init.constant_(layer.weight, value)
    return FlatModel(layer)


def test_terms_by_hand() -> None:
    # Images are 0, hence the loss has no gradient. x = 1, lr .1, one step: decay .5 -> 1 - .05; correction 2 -> - .2.
    data = ClientData(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long), EMPTY)
    local = Local(lr=0.1, epochs=1, weight_decay=0.5)
    start = linear(1.0).weights()
    result, _ = sgd(linear(0.0), start, data, local, KEY, correction=torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(result.params, torch.tensor([0.75, 0.95]))
    # Two epochs with a proximal pull: after step one x = .95; step two: .95 * .95 - .1 * 4 * (.95 - 1).
    result, _ = sgd(linear(0.0), start, data, Local(lr=0.1, epochs=2, weight_decay=0.5), KEY, proximal=4.0)
    torch.testing.assert_close(result.params, torch.full((2,), 0.95 * 0.95 + 0.02))


def test_normalised_steps_by_hand() -> None:
    # No gradient but the correction (3, 4), of norm 5: lr .1 moves by (.06, .08), and decay .5 takes .05 of 1 besides.
    data = ClientData(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long), EMPTY)
    local, start, sums = Local(lr=0.1, epochs=1, weight_decay=0.5), linear(1.0).weights(), torch.zeros(2)
    result, _ = sgd(linear(0.0), start, data, local, KEY, torch.tensor([3.0, 4.0]), gradients=sums)
    torch.testing.assert_close(result.params, torch.tensor([0.89, 0.87]))
    assert sums.tolist() == [0.0, 0.0]  # gradients are summed as they were before
    rest, _ = sgd(linear(0.0), start, data, local, KEY, gradients=sums)  # 0 / 0 is no step
    torch.testing.assert_close(rest.params, torch.tensor([0.95, 0.95]))


def test_normalised_steps_sum_the_gradients_along_their_way() -> None:
    model, data, sums = FlatModel(nn.Linear(3, 2)), client(5), torch.zeros(8)
    local, start = Local(lr=0.2, epochs=1, batch_size=3, weight_decay=0.0), model.weights()
    x, expected = start.params, torch.zeros(8)
    for batch in batches(5, local, KEY):
        model.load(Weights(x, EMPTY))
        gradient = model.gradient(F.cross_entropy(model.logits(data.images[batch]), data.labels[batch])).clone()
        x, expected = x - 0.2 * gradient / gradient.norm(), expected + gradient
    result, steps = sgd(model, start, data, local, KEY, gradients=sums)
    assert steps == 2
    torch.testing.assert_close((result.params, sums), (x, expected))


def test_an_upload_whose_gradient_is_not_finite_is_not() -> None:
    assert an_update([1.0], gradient=torch.tensor([1.0])).finite()
    assert not an_update([1.0], gradient=torch.tensor([float("inf")])).finite()


def test_batchnorm_statistics_travel() -> None:
    model = FlatModel(nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2)))
    start = model.weights()
    assert start.buffers.tolist() == [0.0, 1.0]  # running mean and variance
    data = ClientData(torch.tensor([[2.0], [4.0]]), torch.tensor([0, 1]), EMPTY)
    result, _ = sgd(model, start, data, Local(epochs=1, batch_size=2), KEY)
    # momentum .1: mean .9 * 0 + .1 * 3; variance .9 * 1 + .1 * 2 (unbiased).
    torch.testing.assert_close(result.buffers, torch.tensor([0.3, 1.1]))
    assert start.buffers.tolist() == [0.0, 1.0]


def test_flat_vectors_are_the_model() -> None:
    module = nn.Linear(2, 1)
    model = FlatModel(module)
    model.load(Weights(torch.tensor([1.0, 2.0, 3.0]), EMPTY))
    assert module.weight.tolist() == [[1.0, 2.0]] and module.bias.tolist() == [3.0]
    kept = model.weights()
    model.params.zero_()
    assert module.weight.tolist() == [[0.0, 0.0]] and kept.params.tolist() == [1.0, 2.0, 3.0]


def test_order_of_execution_does_not_matter() -> None:
    model, data = FlatModel(nn.Linear(3, 2)), client(7)
    start = model.weights()
    first, _ = sgd(model, start, data, Local(), KEY)
    sgd(model, start, client(4), Local(), (0, 5, 9))
    again, _ = sgd(model, start, data, Local(), KEY)
    assert torch.equal(first.params, again.params)


def test_other_jobs_see_other_batches() -> None:
    orders = {
        tuple(torch.cat(list(batches(20, Local(), key))).tolist()) for key in [KEY, (0, 1, 3), (0, 2, 2), (1, 1, 2)]
    }
    assert len(orders) == 4


def test_update_derives_staleness_and_model() -> None:
    update = an_update([1.0, 2.0], base=3, now=7, start=Weights(torch.tensor([10.0, 20.0]), EMPTY))
    assert update.staleness == 4 and update.model.params.tolist() == [11.0, 22.0] and update.finite()
    assert not an_update([1.0, float("nan")]).finite()
    assert not an_update([1.0, float("inf")]).finite()
    assert not an_update([1.0], buffers=[float("nan")]).finite()
