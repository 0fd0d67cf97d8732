"""The server's cost: formulas on numbers one can check by hand, bytes that must equal them, and what is stored."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho import studies
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig, config_hash, override, override_all
from fedecho.core.settings import Data
from fedecho.learning.bank import Bank, row_bytes
from fedecho.learning.cost import stand_in, work
from fedecho.learning.cost.stand_in import Measurement, StandIn, tensor_bytes
from fedecho.learning.cost.work import HOLDINGS, PHASES, peak_versions
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.models import build
from fedecho.report.summary import REFERENCE
from fedecho.simulation.schedule import Job, Round, Schedule
from fedecho.studies import cost, profiles
from fedecho.studies.cost_figures import NAMES, PHASE_LOOK, by_factor
from fedecho.studies.many_clients import ManyClients
from fedecho.studies.server_cost import CostStudy, seconds_text, surprises, three_digits

BASE = cost.base("smoke", REFERENCE)  # N 20, M_c 10, M 2, |U| 200, Q 3 x 50
P, C = 10_362, 10
METHODS = (REFERENCE, *cost.BASELINES)
RIVALS = ("FedStaleAsync", "AREA", "AdaMasFL-public")


def play(config: RunConfig, rounds: int = 2) -> tuple[StandIn, dict[str, int]]:
    """A server after some rounds, and the bytes of the last."""
    begun = StandIn(config, Clock(), "cpu")
    held = [begun.round(rnd) for rnd in begun.server.plan.rounds[:rounds]]
    return begun, held[-1]


# Formulas


def test_size_and_flops_of_the_small_model() -> None:
    convolutions = 9 * 4 * 16 * 7 * 7 + 9 * 16 * 32 * 4 * 4  # on 14x14, with stride 2
    assert work.model_size("cnn", Data()) == (P, 0, 2 * (convolutions + 512 * 10))


@pytest.mark.parametrize("name", ["cnn-w2", "cnn-w8", "resnet18"])
def test_sizes_are_those_of_the_model(name: str) -> None:
    model = FlatModel(build(name, (1, 28, 28), 10, seed=0))
    assert work.model_size(name, Data())[:2] == (len(model.params), len(model.buffers))


def test_work_by_hand() -> None:
    flops = work.model_size("cnn", Data())[2]
    assert work.work(BASE) == {
        "inference": 2 * 200 * flops,
        "bank": 3 * 200 * 10,
        "aggregation": 2 * P,
        "distillation": 3 * 150 * flops,
    }
    for label, vectors in {"CA2FL": 2, "AREA": 2, "FedStaleAsync": 2 + 20}.items():
        assert work.work(cost.base("smoke", label)) == dict.fromkeys(PHASES, 0) | {"aggregation": vectors * P}


@pytest.mark.parametrize(
    ("steps", "batch", "pool", "images"),
    [(3, 50, 200, 150), (4, 50, 200, 200), (5, 50, 200, 250), (3, 100, 250, 250), (5, 100, 250, 450), (2, 99, 9, 18)],
)
def test_distilled_images_count_the_short_batches(steps: int, batch: int, pool: int, images: int) -> None:
    assert work.distilled_images(Distillation(steps=steps, batch_size=batch), pool) == images


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1.0, 2.0, 3.0, 4.0)),
        ({"protocol.buffer_size": 4}, (2.0, 2.0 * 5 / 3, 6.0, 4.0)),
        ({"data.pool_size": 100}, (0.5, 1.0, 3.0, 4.0)),
        ({"method.distill.steps": 6}, (1.0, 2.0, 3.0, 8.0)),
        ({"protocol.clients": 40}, (1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_predicted_seconds_scale_one_measured_point(changes: dict[str, Any], expected: tuple[float, ...]) -> None:
    measured = dict(zip(PHASES, (1.0, 2.0, 3.0, 4.0), strict=True))
    found = work.predicted_seconds(override_all(BASE, changes), BASE, measured)
    assert [found[phase] for phase in PHASES] == pytest.approx(expected)


def test_bytes_by_hand() -> None:
    assert work.predicted_bytes(BASE) == {
        "checkpoints": 9 * 4 * P,
        "uploads": 2 * 4 * P + 2 * 200 * 10 * 4,
        "state": 20 * 200 * 10 * 4 + 200 * 10 * 8 + 20 * 8,
    }


# What is measured


def test_clients_give_their_evidence_once() -> None:
    begun, _ = play(cost.base("smoke", "FedEcho, FedAUX's certainties"), rounds=4)
    arrived = [job.client for rnd in begun.server.plan.rounds[:4] for job in rnd.arrivals]
    assert len(set(arrived)) < len(arrived) and sorted(begun.state.heard) == sorted(set(arrived))
    assert not play(BASE)[0].asks


@pytest.mark.parametrize("label", [*METHODS, *RIVALS])
@pytest.mark.parametrize("changes", [{}, {"protocol.clients": 13, "protocol.buffer_size": 3, "data.pool_size": 7}])
def test_bytes_are_those_of_the_formulas(label: str, changes: dict[str, Any]) -> None:
    config = override_all(cost.base("smoke", label), changes)
    _, held = play(config)
    said = work.predicted_bytes(config)
    assert (held["uploads"], held["state"]) == (said["uploads"], said["state"])
    assert 0 < held["checkpoints"] <= said["checkpoints"]


def test_bytes_of_a_model_with_buffers() -> None:
    config = override_all(BASE, {"model": "cnn-batchnorm", "data.pool_size": 7})
    said = work.predicted_bytes(config)
    assert play(config)[1]["uploads"] == said["uploads"]
    assert said["checkpoints"] == 9 * 4 * (P + 2 * 48 + 2 * 48)


@pytest.mark.parametrize(
    "form",
    [{}, {"bank_dtype": "float16"}, {"bank_top_k": 3}, {"bank_top_k": 10}, {"bank_top_k": 2, "bank_dtype": "float16"},
     {"bank_labels": 3}, {"bank_labels": 10}, {"bank_labels": 2, "bank_dtype": "float16"}],
)  # fmt: skip
def test_bytes_of_a_row_are_those_of_the_bank(form: dict[str, Any]) -> None:
    for classes in (10, 300, 40_000):
        bank = Bank.empty(2, (3, 5, classes), torch.device("cpu"), Distillation(**form))
        assert bank.nbytes == 2 * 3 * 5 * row_bytes(classes, Distillation(**form))


def test_stand_in_uploads_reach_bank_and_model() -> None:
    begun, _ = play(BASE)
    arrived = {job.client for rnd in begun.server.plan.rounds[:2] for job in rnd.arrivals}
    assert set(begun.state.bank.seen().nonzero().flatten().tolist()) == arrived
    assert begun.x.finite() and begun.state.metrics["teachers"] == len(arrived)
    assert set(begun.server.clock.seconds) == set(PHASES)


def test_a_tensor_counts_once_and_shared_ones_not_at_all() -> None:
    one, two = torch.zeros(3), torch.zeros(5, dtype=torch.float64)
    assert tensor_bytes((one, {"a": two, "b": one[:1]}), Weights(one, two), 7, None) == 3 * 4 + 5 * 8
    assert tensor_bytes((one, two), shared=(two[1:],)) == 12


def test_peak_versions_by_hand() -> None:
    def arrivals(index: int, *bases: int) -> Round:
        return Round(index, tuple(Job(float(index), k, base, 0.0, k) for k, base in enumerate(bases)), frozenset())

    # Version 0 is needed until round 2, version 1 only in round 2, version 2 by nobody.
    plan = Schedule((arrivals(0, 0, 0), arrivals(1, 0, 0), arrivals(2, 0, 1)), (), (0, 0))
    assert plan.uses_of_version() == Counter({0: 5, 1: 1})
    assert peak_versions(plan) == 2
    assert peak_versions(dataclasses.replace(plan, rounds=plan.rounds[:2])) == 1


def test_rounds_are_summarised_by_quartiles() -> None:
    rounds = {phase: [0.0, 4.0, 1.0] for phase in PHASES}
    one = Measurement(rounds, dict.fromkeys(HOLDINGS, 5))
    two = Measurement({phase: [3.0, 2.0] for phase in PHASES}, dict.fromkeys(HOLDINGS, 7))
    summary = (one + two).summary()
    assert summary == {
        "rounds": 5, "seconds": dict.fromkeys(PHASES, [1.0, 2.0, 3.0]), "bytes": dict.fromkeys(HOLDINGS, 7)
    }  # fmt: skip


def test_measuring_leaves_out_the_first_rounds() -> None:
    seen = stand_in.measure(override(BASE, "data.pool_size", 7), 2)
    assert {len(rounds) for rounds in seen.seconds.values()} == {2}
    assert min(min(rounds) for rounds in seen.seconds.values()) > 0


def test_measuring_without_enough_memory_names_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(stand_in, "StandIn", full)
    with pytest.raises(InputError, match="lower one of .*data.pool_size, now 70"):
        stand_in.measure(override(BASE, "data.pool_size", 70), 1)


def test_bytes_of_a_runs_bank() -> None:
    assert work.bank_bytes(BASE) == (40, 20 * 200 * 40)
    assert work.bank_bytes(override(BASE, "method.distill.bank_top_k", 3)) == (3 * 5 + 4, 20 * 200 * 19)
    assert work.bank_bytes(override(BASE, "method.distill.bank_labels", 3)) == (3 * 4 + 4, 20 * 200 * 16)
    with pytest.raises(InputError, match="only fedecho has a bank"):
        work.bank_bytes(cost.base("smoke", "CA2FL"))


# The design


@pytest.mark.parametrize("name", profiles.WHOLE)
def test_each_factor_changes_one_field_and_has_the_profiles_own_value(name: str) -> None:
    for label in METHODS:
        mine = [point for point in cost.points(name) if point.method == label]
        for factor in {point.factor for point in mine}:
            configs = [point.config for point in mine if point.factor == factor]
            assert cost.base(name, label) in configs
            assert len({config_hash(config) for config in configs}) == len(configs) > 1
            rest = {override(config, cost.FACTORS[factor], own) for config in configs for own in [_own(name, factor)]}
            assert rest == {cost.base(name, label)}  # nothing but the factor differs


def _own(name: str, factor: str) -> Any:
    place: Any = cost.base(name, REFERENCE)
    for field in cost.FACTORS[factor].split("."):
        place = getattr(place, field)
    return place


def test_value_of_a_point() -> None:
    values = {(p.factor, p.value) for p in cost.points("laptop") if p.method == REFERENCE}
    assert {("N", 200), ("M_c", 50), ("M", 1), ("|U|", 5000), ("Q", 50), ("P", P)} <= values


# What is stored and written


@pytest.fixture
def measurement() -> cost.Measured:
    """As if every phase took 2 ms at every point, bytes as predicted."""
    seconds = {phase: [0.001, 0.002, 0.004] for phase in PHASES}
    points = {
        config_hash(p.config): {"rounds": 9, "seconds": seconds, "bytes": work.predicted_bytes(p.config)}
        for p in cost.points("smoke")
    }
    made = {"commit": "a" * 40, "dirty": False, "versions": {"torch": "0"}, "hardware": {"gpu": None, "cpu": "a CPU"}}
    return cost.Measured(made, points)


@pytest.fixture
def paper(measurement: cost.Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    cost.COST.save(measurement, cost.COST.path(study().place, "server"))
    return tmp_path / "paper"


def study(**given: Any) -> CostStudy:
    found = studies.server_cost("smoke", **given)
    assert isinstance(found, CostStudy)
    return found


def test_a_stored_measurement_is_used_until_a_fresh_one_is_wanted(
    paper: Path, measurement: cost.Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunConfig] = []

    def seen(config: RunConfig, rounds: int, device: str) -> Measurement:
        asked.append(config)
        return Measurement({phase: [0.5] for phase in PHASES}, dict.fromkeys(HOLDINGS, 1))

    monkeypatch.setattr(cost, "measure", seen)
    study().train()
    assert study().measured()[0] == measurement and asked == []
    study().train(fresh=True)
    assert len(asked) == 3 * len(measurement.points) and set(study().measured()[0].points) == set(measurement.points)
    short = copy.deepcopy(measurement)
    short.points.popitem()
    cost.COST.save(short, cost.COST.path(study().place, "server"))
    assert study().missing() == 1
    study().train()
    assert len(asked) == 6 * len(measurement.points) and study().missing() == 0


def test_other_methods_and_sizes_are_measured_apart(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = study(methods=["FedBuff"], sizes=[150])
    assert few.place.is_relative_to(paper.parent / "build" / "custom") and few.missing() == 1
    assert {point.method for point in few.points} == {REFERENCE, "FedBuff"}
    assert [p.value for p in few.points if p.factor == "|U|"] == [150, 200]
    both = studies.server_cost_methods("smoke", methods=["FedBuff"], sizes=[150])
    assert isinstance(both, CostStudy) and both.place == few.place and both.home != few.home
    seen = Measurement({phase: [0.5] for phase in PHASES}, dict.fromkeys(HOLDINGS, 1))
    monkeypatch.setattr(cost, "measure", lambda config, rounds, device: seen)
    made = studies.make(both)
    assert list(made.table.texts.columns) == ["FedBuff", REFERENCE]
    assert sorted(path.name for path in paper.iterdir()) == ["records"]
    with pytest.raises(InputError, match="methods = 'FedBuf' is not usable: choose one of FedAvg"):
        study(methods=["FedBuf"])


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_spoilt_measurement_is_named(text: str, paper: Path) -> None:
    cost.COST.path(study().place, "server").write_text(text)
    with pytest.raises(InputError, match="server.json"):
        study().measured()


def test_frame_puts_measured_beside_predicted(measurement: cost.Measured) -> None:
    frame = cost.frame("smoke", cost.points("smoke"), measurement)
    row = frame[(frame["method"] == REFERENCE) & (frame["factor"] == "Q") & ~frame["base"]].iloc[0]
    assert (row["value"], row["distillation"], row["distillation_low"], row["distillation_high"]) == (
        1,
        2e-3,
        1e-3,
        4e-3,
    )
    assert row["distillation_predicted"] == pytest.approx(2e-3 / 3)
    assert row["server"] == pytest.approx(8e-3) and row["server_predicted"] == pytest.approx(6e-3 + 2e-3 / 3)
    assert frame["base"].sum() == len(cost.VALUES["smoke"]) + 3 * len(cost.BASELINES)
    assert surprises(frame) == []
    frame.loc[0, "state"] += 1
    assert len(surprises(frame)) == 1


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"x": 0.002, "x_predicted": 0.001, "base": False}, "2.00 (0.50)"),
        ({"x": 0.002, "x_predicted": 0.002, "base": True}, "2.00"),
        ({"x": 0.0, "x_predicted": 0.0, "base": False}, "–"),
    ],
)
def test_seconds_text(row: dict[str, Any], text: str) -> None:
    assert seconds_text(row, "x") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.33, "0.330"), (13.84, "13.8"), (100.4, "100"), (999.4, "999"), (999.6, "1,000"), (1234.4, "1,234")],
)
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.slow
def test_everything_is_written_from_what_is_stored(paper: Path) -> None:
    def written() -> dict[str, bytes]:
        for name in names:
            studies.write(studies.TABLES[name]("smoke"))
        return {path.name: path.read_bytes() for path in (paper / "tables" / "smoke").iterdir()}

    names = ("server_cost", "server_cost_methods")
    files, made = written(), studies.write(study())
    assert {f"{name}.{suffix}" for name in names for suffix in ("md", "tex", "csv", "json")} <= set(files)
    assert set(made.figures) == {"seconds", "bytes", "methods"}
    assert all(path.is_file() and path.with_suffix(".pdf").is_file() for path in made.figures.values())
    text = files["server_cost.md"].decode()
    assert "Bytes of uploads and bank are those of the formulas." in text and "varied **|U|**" in text
    assert "one thread of a CPU" in text and "commit aaaaaaa." in text
    assert study().sentences()[0].startswith("At the profile's own point the server of")
    assert files == written()


def test_nothing_is_written_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(InputError, match="nothing is measured yet"):
        studies.write(study())
    assert list(tmp_path.iterdir()) == []


def of_reference(measurement: cost.Measured) -> Any:
    frame = cost.frame("smoke", cost.points("smoke"), measurement)
    return frame[frame["method"] == REFERENCE]


def test_figures_draw_dots_and_lines(measurement: cost.Measured) -> None:
    figure = by_factor(of_reference(measurement), PHASE_LOOK, 1e-3, "ms")
    assert [axes.get_xlabel() for axes in figure.axes] == list(NAMES.values())
    steps = figure.axes[list(NAMES).index("Q")]
    predicted, measured = steps.lines[:2]  # distillation is drawn first
    assert list(measured.get_ydata()) == pytest.approx([2, 2])
    assert list(predicted.get_ydata()) == pytest.approx([2 / 3, 2])
    assert (steps.get_xscale(), steps.get_yscale()) == ("log", "log")


# Many clients


@pytest.fixture
def many(paper: Path, measurement: cost.Measured) -> ManyClients:
    """Its phases take .002 s each, but .001 s more where there are 40 clients."""
    made = studies.many_clients("smoke")
    assert isinstance(made, ManyClients)
    points = {
        config_hash(p.config): {
            "rounds": 9, "bytes": work.predicted_bytes(p.config),
            "seconds": {phase: 3 * [0.003 if p.value == 40 else 0.002] for phase in PHASES},
        }
        for p in made.points
    }  # fmt: skip
    cost.COST.save(cost.Measured(measurement.provenance, points), cost.COST.path(made.place, "server"))
    return made


def test_an_arrival_is_a_share_of_its_round_and_compared_with_the_fewest_clients(many: ManyClients) -> None:
    rows = many.table().numbers.set_index(["method", "factor", "value"])
    few, more = rows.loc[(REFERENCE, "N", 20)], rows.loc[(REFERENCE, "N", 40)]
    assert few["server"] == pytest.approx(4 * 0.002 / few["arrivals"]) and few["ratio"] == 1
    assert more["ratio"] == pytest.approx(1.5) and more["arrivals"] == few["arrivals"]
    busy = rows.loc[(REFERENCE, cost.MANY, 40)]
    assert (busy["concurrency"], busy["arrivals"], busy["ratio"]) == (16, 4, 1)
    pool, classes = cost.base("smoke", REFERENCE).data.pool_size, 10
    assert more["state"] - few["state"] == 20 * (pool * classes * 4 + 8)  # a row and a round for each client
    assert rows.loc[("FedBuff", "N", 40), "state"] == 0
    assert more["memory"] == more["state"] + more["uploads"] and more["uploads"] > 0


def test_clients_and_methods_are_chosen(many: ManyClients) -> None:
    own = studies.many_clients("smoke", clients=[30, 60], methods=["CA2FL"])
    assert isinstance(own, ManyClients)
    found = {(point.method, point.factor, point.value) for point in own.points}
    assert found == {("CA2FL", "N", n) for n in (20, 30, 60)} | {("CA2FL", cost.MANY, 60)}
    assert own.place != many.place and own.missing() == 1 and many.missing() == 0
    with pytest.raises(InputError, match="methods = 'FedBuf'"):
        studies.many_clients("smoke", methods=["FedBuf"])
