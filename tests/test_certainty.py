"""What clients send of their data for a weighting: worked out where the data are, once, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor, nn

from fedecho.core.checks import InputError
from fedecho.core.config import override_all
from fedecho.learning import experiment
from fedecho.learning.certainty import LEAST, certainties, features, probability, reporter
from fedecho.learning.client import ClientData, Update
from fedecho.learning.flat import FlatModel
from fedecho.learning.methods import FedEcho, Method, build
from fedecho.learning.models.texts import TextDecoder
from tests.test_experiment import tiny


def data_of(inputs: Tensor, labels: list[Any]) -> ClientData:
    return ClientData(inputs, torch.tensor(labels), torch.empty(0))


@pytest.fixture
def model() -> FlatModel:
    torch.manual_seed(0)
    return FlatModel(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)))


# Label counts


def test_labels_are_counted_and_absent_classes_are_zero(model: FlatModel) -> None:
    said = reporter(model, torch.zeros(2, 2), "label counts")
    assert said is not None
    assert said(data_of(torch.zeros(4, 2), [0, 0, 1, 0])).tolist() == [3.0, 1.0, 0.0]


def test_of_texts_the_tokens_are_counted() -> None:
    model = FlatModel(TextDecoder(6, 3, width=4))
    said = reporter(model, torch.zeros(2, 3, dtype=torch.long), "label counts")
    assert said is not None
    texts = torch.tensor([[0, 1, 2], [2, 2, 5]])
    assert said(data_of(texts, [[1, 2, 2], [2, 5, 0]])).tolist() == [1.0, 1.0, 3.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", ["equal", "seen prior"])
def test_the_others_ask_for_nothing(kind: str, model: FlatModel) -> None:
    assert reporter(model, torch.zeros(2, 2), kind) is None


# FedAUX


def test_features_are_what_the_last_linear_layer_reads(model: FlatModel) -> None:
    inputs, (first, _, last) = torch.randn(5, 2), model.module.children()
    found = features(model, model.weights(), inputs)
    torch.testing.assert_close(found, torch.relu(first(inputs)).detach())
    assert not last._forward_pre_hooks  # nothing is left behind


def test_features_of_a_text_are_the_mean_over_its_positions() -> None:
    decoder = TextDecoder(6, 3, width=4)
    model = FlatModel(decoder)
    texts = torch.tensor([[0, 1, 2], [2, 2, 5]])
    seen: list[Tensor] = []
    decoder.narrow.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    torch.testing.assert_close(features(model, model.weights(), texts), seen[-1].mean(1))


def test_features_that_tell_nothing_leave_the_share_of_the_examples() -> None:
    nothing = torch.zeros(4, 1).double()  # three images of the client's to one of the pool: the intercept says 3/4
    assert float(probability(nothing[:1], nothing[:3], nothing[3:])) == pytest.approx(0.75, abs=1e-3)


def test_the_regression_is_at_its_minimum() -> None:
    # Two examples at -1 and 1: by symmetry the intercept is 0, and w solves (w / 2 n) lambda = sigma(-w), n = 2.
    own, others = torch.tensor([[1.0]]).double(), torch.tensor([[-1.0]]).double()
    share = float(probability(own, own, others))
    w = float(np.log(share / (1 - share)))
    assert 0.01 * w / 2 == pytest.approx(float(expit(-w)), rel=0.02)
    assert float(probability(others, own, others)) == pytest.approx(1 - share, abs=1e-4)
    middle = torch.zeros(1, 1).double()
    assert float(probability(middle, own, others)) == pytest.approx(0.5, abs=1e-4)


def test_what_looks_like_its_own_data_is_rated_higher() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(40, 3, generator=generator) + torch.tensor([4.0, 0.0, 0.0])
    pool = torch.randn(31, 3, generator=generator)
    pool[[3, 8, 17, 30]] += torch.tensor([4.0, 0.0, 0.0])
    rated = certainties(own, pool)
    assert rated.shape == (31,) and float(rated.min()) > LEAST / 2 and float(rated.max()) < 1 + 1e-6
    assert set(rated.topk(4).indices.tolist()) == {3, 8, 17, 30}
    assert certainties(own, pool[:1]).shape == (1,)  # one image rates itself
    scaled = certainties(7 * own, 7 * pool)  # features are divided by the largest norm
    torch.testing.assert_close(scaled, rated, rtol=0, atol=1e-3)


def test_no_image_is_rated_by_a_regression_that_saw_it() -> None:
    generator = torch.Generator().manual_seed(0)
    own, pool = 9 * torch.ones(6, 2), torch.randn(8, 2, generator=generator)  # the longest is one of its own
    moved = pool.clone()
    moved[2] *= -2.0  # at an even place: it is an example for the odd ones alone
    one, other = certainties(own, pool), certainties(own, moved)
    torch.testing.assert_close(one[[0, 4, 6]], other[[0, 4, 6]])
    assert not torch.allclose(one[1::2], other[1::2], rtol=1e-3)


def test_a_model_without_features_is_refused() -> None:
    with pytest.raises(InputError, match="teacher_weights = 'fedaux' .* no linear layer") as caught:
        reporter(FlatModel(nn.Conv2d(1, 2, 1)), torch.zeros(1, 1, 1, 1), "fedaux")
    assert "\n" not in str(caught.value)


# Whole runs


@pytest.mark.parametrize(
    ("how", "length"),
    [pytest.param("fedaux", 40, marks=pytest.mark.slow), ("label counts", 10), ("equal", 0), ("seen prior", 0)],
)
def test_each_client_says_it_once_and_of_its_own_data(how: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Update] = []

    def noted(config: Any, server: Any) -> Method[Any]:
        method: Method[Any] = build(config, server)
        return type(method)(**{**vars(method), "receive": lambda s, u: sent.append(u) or method.receive(s, u)})  # type: ignore[func-returns-value]

    monkeypatch.setattr(experiment, "build", noted)
    config = override_all(
        tiny(FedEcho()), {"method.distill.teacher_weights": how, "method.distill.steps": 2, "data.pool_size": 40}
    )
    record = experiment.run(config)
    assert record.status == "done"
    told = [update for update in sent if update.report is not None]
    assert [update.client for update in told] == (list(dict.fromkeys(u.client for u in sent)) if length else [])
    assert all(update.report is not None and len(update.report) == length for update in told)
    if how == "label counts":
        sizes = (record.facts["client_images_min"], record.facts["client_images_max"])
        assert all(sizes[0] <= float(u.report.sum()) <= sizes[1] for u in told if u.report is not None)


@pytest.mark.parametrize(
    "way",
    [
        {"prior_correction": 0.5},
        {"energy_weight": 3.0},
        pytest.param({"teacher_weights": "fedaux"}, marks=pytest.mark.slow),
    ],
)
def test_a_weighting_changes_the_run_and_not_who_arrives(way: dict[str, Any]) -> None:
    plain = tiny(FedEcho())
    weighted = override_all(plain, {f"method.distill.{name}": value for name, value in way.items()})
    one, other = experiment.run(plain), experiment.run(weighted)
    assert [r["virtual_time"] for r in one.rows] == [r["virtual_time"] for r in other.rows]
    assert [r["loss"] for r in one.rows] != [r["loss"] for r in other.rows]
