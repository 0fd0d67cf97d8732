"""Whole runs on texts: every contender of the tables, the same code as for images; bad input in one line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho import data
from fedecho.cli.main import main
from fedecho.core.checks import InputError, MissingDataError
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash, override_all
from fedecho.core.records import Record
from fedecho.core.settings import Data, Evaluation, Partition, Protocol
from fedecho.data.tokens import Vocabulary
from fedecho.learning.cost import duration, peak, work
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.experiment import run
from fedecho.learning.methods import FedEcho
from fedecho.learning.resume import Keeper, Paused
from fedecho.learning.task import prepare
from fedecho.studies import contenders
from fedecho.studies.sweep import absent_data

CPU = torch.device("cpu")


def tiny(label: str = "FedBuff", **changes: Any) -> RunConfig:
    """A run of a quarter of a second, once the novels have been read."""
    config = replace(
        contenders.base("smoke", contenders.CONTENDERS[label], 0),
        data=Data("austen", train_size=200, pool_size=30),
        model="text-encoder",
        partition=Partition(alpha=0.5, min_size=2),
        evaluation=Evaluation(every=2),
    )
    contender = contenders.CONTENDERS[label]
    return override_all(replace(config, protocol=contender.protocol(Protocol(10, 6, 2, 4))), changes)


@cache
def once(config: RunConfig) -> Record:
    """What `run` returns, for tests that do not change it."""
    return run(config)


@pytest.mark.parametrize("label", contenders.CONTENDERS)
def test_every_contender_reads_texts(label: str) -> None:
    record = once(tiny(label))
    assert record.status == "done" and len(record.rows[-1]["per_class"]) == 6
    assert record.facts["vocabulary_words"] <= 3998 and len(record.facts["vocabulary_digest"]) == 64


@pytest.mark.parametrize("how", [{"bank_top_k": 2}, {"bank_dtype": "float16"}, {"alpha_scope": "sample"}], ids=str)
def test_fedecho_distils_on_texts(how: dict[str, Any]) -> None:
    small = {"steps": 2, "batch_size": 10, "lr": 0.1}
    plain, changed = (
        once(replace(tiny(), method=FedEcho(distill=Distillation(**small, **more)))) for more in ({}, how)
    )
    assert changed.status == "done" and 0 <= changed.rows[-1]["entropy"] <= 1
    assert changed.rows[-1]["loss"] != plain.rows[-1]["loss"] != once(tiny()).rows[-1]["loss"]


def test_stragglers_can_own_novels() -> None:
    speeds = {"partition.straggler_classes": 2, "partition.straggler_mix": "pure", "delays.speed_counts": (5, 3, 2)}
    config = override_all(tiny(), speeds)
    task = prepare(config, CPU)
    owned = set(task.facts["straggler_classes"])
    slow = [set(d.labels.tolist()) & owned for d, s in zip(task.clients, task.plan.speed_class, strict=True) if s == 2]
    assert len(owned) == 2 and slow == [owned, owned]
    assert run(config).status == "done"


def test_a_run_is_a_pure_function_of_its_config_and_of_the_mask() -> None:
    one, two = once(tiny("FedEcho")), run(tiny("FedEcho"))
    assert one.rows == two.rows and one.facts == two.facts
    bare = run(tiny("FedEcho", **{"data.mask": False}))
    assert bare.rows != one.rows and bare.facts["data_digest"] != one.facts["data_digest"]


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    config, path = tiny("FedEcho"), tmp_path / "run.pt"
    with pytest.raises(Paused):
        run(config, keeper=Keeper(path, deadline=0.0))
    assert run(config, keeper=Keeper(path)).rows == once(config).rows


def test_the_vocabulary_is_that_of_the_clients_alone() -> None:
    splits = data.load_texts("austen")
    task = prepare(tiny(), CPU)
    own = Vocabulary.of(splits.train.texts[:200], data.TEXT_SHAPE[0])
    assert task.facts["vocabulary_digest"] == own.digest
    assert task.pool.dtype == torch.long and task.pool.tolist() == own.encode(splits.pool.texts[:30], 64).tolist()
    assert sum(len(client.labels) for client in task.clients) == 200 and len(task.held_out.labels) == 1440


def test_validation_and_test_are_different_passages() -> None:
    config = tiny(**{"evaluation.split": "validation"})
    assert len(prepare(config, CPU).held_out.labels) == 720


def test_a_part_of_the_held_out_passages_is_scored() -> None:
    part, whole = (prepare(tiny(**{"evaluation.size": size}), CPU).held_out for size in (60, None))
    assert len(part.images) == 60 and torch.equal(part.labels, whole.labels[:60])
    longest = part.images.shape[1]
    assert torch.equal(part.images, whole.images[:60, :longest]) and not whole.images[:60, longest:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "cnn"}, "model = 'cnn' .* text-encoder"),
        ({"data.pool": "noise"}, "pool = 'noise' .* held-out, sst2, agnews, trec"),
        ({"data.pool": "austen"}, "pool = 'austen' .* the clients' own austen"),
        ({"data.pool_size": 1081}, "pool_size = 1081 .* 1080 texts"),
        ({"data.train_size": 3601}, "train_size = 3601 .* 3600"),
        ({"data.pool_mix": 0.5}, "pool_mix"),
        ({"data.validation_size": 100}, "validation_size"),
        ({"local.augment": True}, "crops are for images"),
        ({"partition.min_size": 30}, "cannot give 10 clients"),
    ],
)
def test_bad_input_is_found_before_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(tiny(**changes))
    assert "\n" not in str(caught.value)


def test_what_belongs_to_texts_is_refused_for_images() -> None:
    with pytest.raises(InputError, match="only austen has a mask"):
        Data(mask=False)
    image = override_all(tiny(), {"data.name": "fashion-mnist", "model": "cnn", "data.pool": "sst2"})
    with pytest.raises(InputError, match="sst2"):
        run(image)


def test_an_absent_pool_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"train\.tsv, dev\.tsv, test\.tsv"):
        prepare(tiny(**{"data.pool": "sst2"}), CPU, tmp_path)


def test_a_sweep_knows_which_texts_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path))
    assert absent_data([tiny()]) == {}
    assert absent_data([tiny(**{"data.pool": "sst2"})]).keys() == {("austen", "sst2")}


def test_the_mask_leaves_the_hashes_of_earlier_runs_alone() -> None:
    config = contenders.base("smoke", contenders.CONTENDERS["FedBuff"], 0)
    assert config_hash(config) == config_hash(replace(config, data=replace(config.data, mask=True)))


def test_costs_are_predicted_for_texts() -> None:
    parameters, buffers, flops = work.model_size("text-encoder", Data("austen"))
    assert (parameters, buffers) == (137_318, 0) and flops > 16 * 2 * 32 * 32 * 8
    config = tiny("FedEcho")
    assert duration.operations(config) > 0 and peak.predicted_peak(config)["data"] > 0
    assert peak.data_bytes(config)["U"] == 30 * 64 * 8


def test_the_list_of_data_sets_has_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "list", "--data-root", str(tmp_path)])
    lines = {line.split(" ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["austen"].endswith("present")
    assert all(str(tmp_path / "text" / name) in lines[name] for name in ("sst2", "agnews", "trec"))


def test_golden_run() -> None:
    """If this fails without a bug, the numerics have changed: raise NUMERICS_VERSION and remake the records."""
    assert NUMERICS_VERSION == 1
    record = run(tiny("FedEcho", **{"data.train_size": 1000, "local.batch_size": 10, "protocol.rounds": 6}))
    facts = {name: record.facts[name] for name in ("data_digest", "vocabulary_digest", "client_images_max")}
    assert hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16] == "d2184352f441e1bc"
    # Other CPUs sum in another order.
    assert record.rows[-1]["loss"] == pytest.approx(2.0045, abs=0.003)
