"""Clients that lie or fail: who they are, what they train on and send, and that their runs are runs like others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, config_hash, from_dict, to_dict
from fedecho.core.settings import Faults, Protocol
from fedecho.learning import experiment, faults
from fedecho.learning.client import ClientData
from fedecho.learning.methods import AdaMasFL, FedAvg, FedBuff
from fedecho.learning.resume import Keeper
from fedecho.learning.task import prepare
from fedecho.simulation.schedule import sequential, synchronous
from tests.test_experiment import tiny
from tests.test_resume import pause_after

CPU = torch.device("cpu")
SCALED, NOISE = Faults("scaled", 0.3, -4.0), Faults("noise", 0.3, 2.0)
FLIPPED = Faults("flipped labels", 0.3)


def with_faults(these: Faults, **changes: Any) -> RunConfig:
    return tiny(FedBuff(), faults=these, **changes)


# Who


def test_a_smaller_share_is_among_a_larger_one_and_seeds_differ() -> None:
    few, many = (faults.faulty(with_faults(replace(SCALED, share=share))) for share in (0.2, 0.5))
    assert len(few) == 2 and len(many) == 5 and few < many <= {*range(10)}
    assert faults.faulty(tiny(FedBuff())) == frozenset()
    assert len({faults.faulty(with_faults(SCALED, seed=seed)) for seed in range(5)}) > 1


def test_they_are_the_same_for_all_methods_and_kinds() -> None:
    assert faults.faulty(with_faults(SCALED)) == faults.faulty(tiny(AdaMasFL(), faults=FLIPPED))


# What they do


def test_flipped_labels_are_those_counted_from_the_other_end() -> None:
    data = ClientData(torch.zeros(3, 1), torch.tensor([0, 2, 9]), torch.zeros(1))
    assert faults.trained_on(data, FLIPPED, 10).labels.tolist() == [9, 7, 0]
    assert faults.trained_on(data, SCALED, 10) is data


def test_only_faulty_clients_have_flipped_labels() -> None:
    honest, task = prepare(tiny(FedBuff()), CPU), prepare(with_faults(FLIPPED), CPU)
    assert task.facts == honest.facts | {"faulty": sorted(task.faulty)} and "faulty" not in honest.facts
    for client, (theirs, own) in enumerate(zip(honest.clients, task.clients, strict=True)):
        wanted = 9 - theirs.labels if client in task.faulty else theirs.labels
        assert torch.equal(own.labels, wanted) and torch.equal(own.images, theirs.images)


def test_what_is_sent() -> None:
    change = torch.tensor([3.0, 4.0])
    assert faults.sent(change, SCALED, (0, 1, 2)).tolist() == [-12.0, -16.0]
    assert faults.sent(change, FLIPPED, (0, 1, 2)) is change
    noise = faults.sent(change, NOISE, (0, 1, 2))
    assert float(noise.norm()) == pytest.approx(2 * 5) and noise.dtype == torch.float32
    assert torch.equal(noise, faults.sent(change, NOISE, (0, 1, 2)))
    assert not torch.equal(noise, faults.sent(change, NOISE, (0, 1, 3)))  # another job
    long = faults.sent(torch.ones(10_000), replace(NOISE, scale=1.0), (0, 1, 2))
    assert abs(float(long.mean())) < 0.05 and float(long.std()) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("method", [FedBuff(), AdaMasFL()], ids=lambda method: method.name)
def test_only_the_uploads_of_faulty_clients_are_scaled(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round, before any faulty upload has been taken up, has the honest run's updates, but for theirs."""
    honest, seen = experiment.work, {}

    def work(task: Any, config: RunConfig, *others: Any) -> Any:
        update = honest(task, config, *others)
        seen.setdefault(config.faults, []).append((update, update.client in task.faulty))
        return update

    monkeypatch.setattr(experiment, "work", work)
    for these in (Faults(), replace(SCALED, share=0.5)):
        experiment.run(tiny(method, faults=these, protocol=Protocol(10, 10, 10, 1)))
    plain, wrong = seen.values()
    assert sum(faulty for _, faulty in wrong) == 5
    for (own, _), (sent, faulty) in zip(plain, wrong, strict=True):
        assert torch.equal(sent.delta, (-4 if faulty else 1) * own.delta)
        if own.gradient is not None:
            assert torch.equal(sent.gradient, (-4 if faulty else 1) * own.gradient)


# A run of theirs


@pytest.mark.parametrize("these", [SCALED, NOISE, FLIPPED], ids=lambda these: these.kind)
def test_a_run_with_faults_is_another_run_that_can_be_continued(these: Faults, tmp_path: Path) -> None:
    config, path = with_faults(these), tmp_path / "run.pt"
    config = replace(config, protocol=replace(config.protocol, norm_quantiles=True))
    pause_after(2, path, config)
    whole = experiment.run(config)
    assert experiment.run(config, keeper=Keeper(path)).rows == whole.rows
    assert whole.rows != experiment.run(replace(config, faults=Faults())).rows
    assert from_dict(RunConfig, to_dict(config)) == config


@pytest.mark.parametrize("scheduled", [synchronous, sequential])
def test_other_schedules_have_them_too(scheduled: Any) -> None:
    config = tiny(FedAvg(), faults=SCALED)
    record = experiment.run(replace(config, protocol=scheduled(config.protocol)))
    assert record.status == "done" and len(record.facts["faulty"]) == 3


def test_the_absence_of_faults_is_no_part_of_a_run() -> None:
    assert "faults" not in to_dict(tiny(FedBuff(), faults=Faults()))
    assert config_hash(tiny(FedBuff(), faults=SCALED)) != config_hash(tiny(FedBuff()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "lazy", "share": 0.1}, "kind = 'lazy'"),
        ({"kind": "noise"}, "share = 0.0 .* give a share in"),
        ({"share": 0.1}, "share = 0.1 .* say with kind"),
        ({"kind": "noise", "share": 1.0}, "share = 1.0"),
        ({"kind": "noise", "share": -0.1}, "share = -0.1"),
        ({"kind": "noise", "share": 0.1, "scale": -1.0}, "scale = -1.0 .* > 0"),
        ({"kind": "noise", "share": 0.1, "scale": 0.0}, "scale = 0.0 .* > 0"),
        ({"kind": "scaled", "share": 0.1}, "scale = 1.0 .* honest"),
        ({"kind": "flipped labels", "share": 0.1, "scale": 2.0}, "scale = 2.0 .* no meaning"),
        ({"kind": "scaled", "share": 0.1, "scale": float("nan")}, "scale = nan"),
        ({"kind": "scaled", "share": 0.04, "scale": -4.0}, "share = 0.04 .* 0 of 10 clients"),
        ({"kind": "scaled", "share": 0.96, "scale": -4.0}, "share = 0.96 .* 10 of 10 clients"),
    ],
)
def test_faults_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        with_faults(Faults(**given))
    assert "\n" not in str(caught.value)


# How long updates are


def test_the_record_has_the_norms_of_what_was_let_in_where_that_is_wanted() -> None:
    config, norms = with_faults(SCALED), []
    plain = experiment.run(config)
    assert not [row for row in plain.rows if "delta_norm_max" in row]
    measured = replace(config, protocol=replace(config.protocol, norm_quantiles=True))
    for row, own in zip(experiment.run(measured).rows, plain.rows, strict=True):
        norms.append((row.pop("delta_norm_median"), row.pop("delta_norm_max")))
        assert row == own and 0 < norms[-1][0] < norms[-1][1]
    limit = norms[0][0]
    refused = replace(measured, protocol=replace(measured.protocol, max_delta_norm=limit))
    first = experiment.run(refused).rows[0]
    assert first["delta_norm_max"] <= limit and first["rejected_norm"] > 0
