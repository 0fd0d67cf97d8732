"""The CIFAR paths on real images, at the smallest scale; skipped where CIFAR is not in the data folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fedecho import data, studies
from fedecho.core.checks import MissingDataError
from fedecho.core.config import RunConfig, override_all
from fedecho.data.sources import CIFARS
from fedecho.data.splits import carve
from fedecho.learning import experiment
from fedecho.learning.methods import FedEcho
from fedecho.learning.resume import Keeper, Paused
from fedecho.report import notebooks
from fedecho.studies.comparison import Trained


def lacking() -> str:
    """Say why these tests cannot run here; empty if they can."""
    if not any((data.data_root() / name).exists() for name in ("cifar10.npz", "cifar-10-batches-py")):
        return "CIFAR-10 is not in the data folder (FEDECHO_DATA)"
    try:
        data.load_unlabeled("cifar100-20k")
    except MissingDataError:
        return "CIFAR-100 is not in the data folder (FEDECHO_DATA)"
    return ""


WHY = lacking()
needs_cifar = pytest.mark.skipif(bool(WHY), reason=WHY or "it is here")


def block(profile: str) -> Trained:
    study = studies.cifar_small(profile)
    assert isinstance(study, Trained)
    return study


def smoke(label: str = "FedEcho", **changes: object) -> RunConfig:
    (cell,) = [
        cell
        for cell in block("smoke").asked()
        if (cell.method, cell.setting, cell.delay, cell.config.seed) == (label, "Dir(0.1)", "large", 0)
    ]
    return override_all(cell.config, {"protocol.rounds": 2, "evaluation.every": 1, **changes})


@needs_cifar
def test_a_run_of_the_block_continues_to_the_same_bytes(tmp_path: Path) -> None:
    config, path = smoke(), tmp_path / "run.pt"
    whole = experiment.run(config)
    assert whole.status == "done" and whole.facts["classes"] == list(CIFARS["cifar10"].classes)
    assert [len(row["per_class"]) for row in whole.rows] == [10, 10] and whole.rows[-1]["teachers"] >= 2
    with pytest.raises(Paused):
        experiment.run(config, keeper=Keeper(path, deadline=0.0))
    continued = experiment.run(config, keeper=Keeper(path))
    assert (continued.rows, continued.facts) == (whole.rows, whole.facts)


@pytest.mark.slow
@needs_cifar
@pytest.mark.parametrize("model", ["resnet8", "resnet18", "resnet18-groupnorm"])
def test_residual_networks_take_a_step(model: str) -> None:
    small = {
        "model": model, "local.augment": True, "local.epochs": 1, "data.train_size": 500, "data.pool_size": 50,
        "data.validation_size": 100, "evaluation.split": "validation", "partition.kind": "iid",
        "protocol.clients": 10, "protocol.concurrency": 1, "protocol.buffer_size": 1, "protocol.rounds": 1,
        "method.distill.steps": 1, "method.distill.batch_size": 50,
    }  # fmt: skip
    record = experiment.run(smoke(**small))
    assert record.status == "done" and Counter(row["rejected"] for row in record.rows) == {0: 1}
    assert record.rows[0]["accuracy"] > 0 and record.rows[0]["gradient_norm"] > 0


@needs_cifar
def test_clients_validation_test_and_pool_share_no_image() -> None:
    config = block("laptop").configs[0]
    splits = carve(data.load("cifar10"), validation=config.data.validation_size)
    assert splits.validation is not None
    parts = [splits.train.images[: config.data.train_size], splits.validation.images, splits.test.images]
    parts.append(data.load_unlabeled("cifar100-20k").images[: config.data.pool_size])
    hashes = [{image.tobytes() for image in part} for part in parts]
    assert [len(part) for part in hashes] == [10_000, 5_000, 10_000, 1_000]
    assert len(set.union(*hashes)) == sum(map(len, hashes))


def test_a_thousand_clients_are_as_slow_and_as_stale_as_fifty() -> None:
    fifty, thousand = block("laptop"), studies.cifar_clients("laptop")
    assert isinstance(thousand, Trained)
    few, many = ({c.delays.speed_counts: c.protocol for c in each.configs} for each in (fifty, thousand))
    assert set(few) == {None, (25, 16, 9)} and set(many) == {None, (500, 320, 180)}
    for protocol in many.values():
        assert (protocol.clients, protocol.concurrency, protocol.buffer_size) == (1_000, 100, 20)
        assert protocol.rounds == few[None].rounds and few[None].concurrency / few[None].buffer_size == 5
    banks = {c.method.distill.bank_dtype for c in thousand.configs if isinstance(c.method, FedEcho)}
    assert banks == {"float16"} and {c.data.train_size for c in thousand.configs} == {45_000}


# Without the data


def test_what_cannot_be_trained_says_how_and_the_table_says_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "nothing"))
    made = studies.make(block("smoke"))
    assert "cifar_small: 40 runs are not trained, data = 'cifar10'" in capsys.readouterr().err
    assert made.tables["md"].read_text().count("not run") == 40  # ten rows in four places
    assert not (tmp_path / "records").exists()


def test_the_papers_scale_is_never_trained_by_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    study = studies.vision("paper")
    assert isinstance(study, Trained)
    (obstacle,) = study.obstacles()
    assert "fedecho sweep --profile paper --budget 25m" in obstacle.why and study.trainable() == []
    study.train()
    assert study.missing() == len(study.configs)
    assert notebooks.left_out("00_quickstart", "paper") and notebooks.left_out("10_table_vision", "paper") is None
    assert notebooks.left_out("00_quickstart", "laptop") is None
