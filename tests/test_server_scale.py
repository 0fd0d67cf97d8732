"""How many updates a second one server takes: the model of its seconds on numbers one can check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedecho import studies
from fedecho.core.checks import InputError
from fedecho.core.config import config_hash, override
from fedecho.learning import models
from fedecho.learning.cost import stand_in, work
from fedecho.learning.cost.fit import fit, fitted, terms
from fedecho.learning.cost.work import PHASES
from fedecho.learning.models.texts import SIZES
from fedecho.report.summary import REFERENCE
from fedecho.studies import cost
from fedecho.studies.cost_figures import rates
from fedecho.studies.server_cost import CostStudy
from fedecho.studies.server_scale import (
    BEYOND,
    MODELS,
    SAVINGS,
    ServerScale,
    base,
    display,
    savings,
)

OWN = base("smoke")  # M 2 of M_c 10, |U| 50, Q 2 x 25
M, U, Q, C = 2, 50, 2, 6
P, _, F = work.model_size("text-encoder", OWN.data)
A = work.activations("text-encoder", OWN.data)
KNOWN = {
    "inference": np.array([1e-3, 2e-12, 3e-9, 4e-9]),
    "bank": np.array([1e-4, 5e-9]),
    "aggregation": np.array([2e-4, 0.0]),
    "distillation": np.array([3e-3, 0.0, 1e-9, 5e-9]),
}


def test_terms_are_calls_work_and_parameters_moved() -> None:
    assert terms(OWN) == {
        "inference": [M, M * U * F, M * P, M * U * A],
        "bank": [M, (M + 1) * U * C],
        "aggregation": [1, M * P],
        "distillation": [Q, 3 * Q * 25 * F, Q * P, Q * 25 * A],
    }
    assert terms(base("smoke", "FedBuff")) == {"aggregation": [1, M * P]}


def test_layers_put_out_their_vectors() -> None:
    """Two linear layers of attention, two of the feed-forward net and its ReLU, two norms: 9 times 32 and 64 numbers at
    each of 16 places, the words' vectors at 64, the last norm and the head at one."""
    assert work.activations("text-encoder", OWN.data) == 16 * (96 + 32 + 64 + 64 + 32 + 32 + 32) + 64 * 32 + 32 + 6


def test_of_adapters_alone_a_hundredth_is_moved_and_a_pass_costs_what_it_did() -> None:
    whole, few = terms(OWN), terms(OWN, 0.01)
    assert few["inference"] == [M, M * U * F, pytest.approx(0.01 * M * P), M * U * A]
    assert few["aggregation"][1] == pytest.approx(0.01 * whole["aggregation"][1])
    assert [few["distillation"][k] for k in (0, 1, 3)] == [whole["distillation"][k] for k in (0, 1, 3)]


def test_a_fit_finds_the_factors_that_made_the_seconds() -> None:
    configs = [
        override(override(OWN, "model", model), "data.pool_size", size)
        for model in ("text-encoder-4x1", "text-encoder", "text-encoder-64x2", "text-encoder-128x4")
        for size in (20, 50, 100)
    ]
    found = fit(configs, [fitted(KNOWN, config) for config in configs])
    for phase in PHASES:
        np.testing.assert_allclose(found[phase], KNOWN[phase], rtol=1e-6, atol=1e-20)


def test_what_takes_no_time_has_no_factors_and_no_factor_is_negative() -> None:
    plain = [override(base("smoke", "FedBuff"), "model", f"text-encoder-{size}") for size in ("4x1", "16x1", "64x2")]
    found = fit(plain, [dict.fromkeys(PHASES, 0.0) | {"aggregation": seconds} for seconds in (3.0, 2.0, 1.0)])
    assert [*found] == ["aggregation"] and (found["aggregation"] >= 0).all()


def test_savings_by_hand() -> None:
    factors = KNOWN | {
        "inference": np.array([0.0, 1.0 / (M * U * F), 0.0, 0.0]),
        "distillation": np.array([1.5, 0.0, 0.0, 0.0]),
    }
    factors |= {"bank": np.zeros(2), "aggregation": np.array([0.0, 1.0 / (M * P)])}
    assert fitted(factors, OWN) == {"inference": 1, "bank": 0, "aggregation": 1, "distillation": 3}
    found = savings(factors, OWN)
    assert found == pytest.approx(
        {"|U| / 10": M / (0.1 + 1 + 3), "clients predict": M / (1 + 3), "adapters alone": M / (1 + 0.01 + 3)}
    )
    assert tuple(found) == SAVINGS


@pytest.fixture
def scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerScale:
    """Measured seconds are exactly those of known factors, but twice as long for the largest model."""
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    made = studies.server_scale("smoke")
    assert isinstance(made, ServerScale)
    points = {}
    for point in made.points:
        long = 2.0 if point.config.model == MODELS["smoke"][-1] and point.method == REFERENCE else 1.0
        seconds = {phase: 3 * [long * spent] for phase, spent in fitted(KNOWN, point.config).items()}
        points[config_hash(point.config)] = {
            "rounds": 3, "seconds": seconds, "bytes": work.predicted_bytes(point.config)
        }  # fmt: skip
    hardware = {"gpu": None, "cpu": "A", "machine": "x"}
    made_by = {"commit": "abcdef0", "dirty": False, "hardware": hardware, "versions": {"torch": "2"}}
    cost.COST.save(cost.Measured(made_by, points), cost.COST.path(made.place, "server"))
    return made


def test_updates_a_second_are_those_of_a_round_by_its_seconds(scale: ServerScale) -> None:
    _, frame = scale.measured()
    rows = frame.set_index(["factor", "model"])
    row = rows.loc[("P", "text-encoder-4x1")]
    spent = sum(fitted(KNOWN, override(OWN, "model", "text-encoder-4x1")).values())
    assert row["rate"] == pytest.approx(M / spent) and row["server"] == pytest.approx(spent)
    assert row["plain"] == pytest.approx(M / 2e-4)
    assert row["held"] == sum(work.predicted_bytes(override(OWN, "model", "text-encoder-4x1")).values())
    largest = rows.loc[("P", MODELS["smoke"][-1])]
    assert largest["rate_fitted"] > 1.1 * largest["rate"]  # two of three are as known, and the fit says so


def test_a_billion_parameters_are_fitted_and_said_to_be(scale: ServerScale) -> None:
    _, frame = scale.measured()
    texts = display(frame)
    beyond = frame[frame["model"] == BEYOND].iloc[0]
    assert beyond["value"] > 1e9 and np.isnan(beyond["rate"]) and beyond["rate_fitted"] > 0
    line = texts.loc[("P", f"{beyond['value']:,}")]
    assert line["updates/s"].startswith("(") and line["inference, s"] == "–"
    assert not texts.iloc[0]["updates/s"].startswith("(") and texts.iloc[0]["fitted / measured"] != "–"
    assert "Fitted rates are" in scale.sentences()[0] and len(scale.sentences()) == 2 + len(SAVINGS)


def test_the_table_is_written_with_its_figure(scale: ServerScale) -> None:
    made = studies.write(scale)
    assert [*made.figures] == ["rate"] and "How many updates a second" in made.tables["md"].read_text()


def test_a_rate_far_below_the_fit_is_drawn_open() -> None:
    columns = {"value": [10, 100], "rate": [1.0, 1.0], "rate_fitted": 1.0, "plain": [4.0, 1.9], "plain_fitted": 4.0}
    axes = rates(pd.DataFrame(columns).assign(**dict.fromkeys(SAVINGS, 1.0)), SAVINGS, 1.0).axes[0]
    open_ones = [line.get_xydata() for line in axes.lines if line.get_fillstyle() == "none"]
    assert [np.asarray(points).tolist() for points in open_ones] == [[], [[100, 1.9]]]


def test_models_and_sizes_are_chosen(scale: ServerScale) -> None:
    own = studies.server_scale("smoke", models=["text-encoder-64x2"], sizes=[7])
    assert isinstance(own, ServerScale)
    assert {(p.factor, p.method) for p in own.points} == {
        ("P", REFERENCE), ("P", "FedBuff"), ("|U|", REFERENCE), ("M_c", REFERENCE)
    }  # fmt: skip
    assert [p.value for p in own.points if p.factor == "|U|"] == [7, U]
    assert own.place != scale.place and own.missing() == 1 and scale.missing() == 0
    for name in ("text-encoder-9x9", "cnn"):
        with pytest.raises(InputError, match=f"models = '{name}' .* text-encoder-4x1"):
            studies.server_scale("smoke", models=[name])


def test_sizes_of_the_encoders_are_those_of_their_models() -> None:
    shape, classes = work.shape_of("text-encoder", OWN.data)
    for width, layers in SIZES[:3]:
        name = f"text-encoder-{width}x{layers}"
        module = models.build(name, shape, classes, 0)
        assert sum(p.numel() for p in module.parameters()) == work.model_size(name, OWN.data)[0]
    assert work.model_size(BEYOND, OWN.data)[0] == 1_015_549_958


@pytest.mark.parametrize(("each", "rounds"), [(0.1, 7), (0.5, 1), (2.0, 1)])
def test_one_long_round_warms_up_and_one_is_measured(each: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With .1 s a round two warm up and seven are within .9 s; with .5 two warm up; with 2 s one does."""
    now = [0.0]
    monkeypatch.setattr(stand_in, "seconds_on", lambda device: lambda: now[0])

    def work_on(self: stand_in.StandIn, rnd: object) -> dict[str, int]:
        with self.server.clock("aggregation"):
            now[0] += each
        return dict.fromkeys(work.HOLDINGS, 0)

    monkeypatch.setattr(stand_in.StandIn, "round", work_on)
    found = stand_in.measure(override(OWN, "protocol.rounds", 10), 20).summary()
    assert found["rounds"] == rounds and found["seconds"]["aggregation"][1] == pytest.approx(each)
    assert now[0] == pytest.approx(each * (rounds + (1 if each > 0.8 else 2)))


def test_every_folder_of_measurements_is_read_as_one() -> None:
    built = [build("smoke") for build in studies.TABLES.values()]
    assert {study.place.name for study in built if isinstance(study, CostStudy)} == {*stand_in.MEASURED}
