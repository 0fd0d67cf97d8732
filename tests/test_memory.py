"""What a run is predicted to hold at its peak is what torch's allocator saw, within a fifth; and by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import MethodConfig, RunConfig, override_all
from fedecho.core.settings import Data
from fedecho.learning import bank, experiment
from fedecho.learning.cost import peak, room, stand_in, work
from fedecho.learning.methods import AREA, CA2FL, FADAS, AdaMasFL, FedAC, FedBuff, FedEcho, FedStaleAsync
from fedecho.learning.models.texts import TEXT_MODELS
from fedecho.learning.teacher import teacher
from fedecho.report.summary import REFERENCE
from fedecho.studies import contenders, cost
from tests.test_experiment import tiny


def measured_peak(work: Callable[[], object]) -> int:
    """The most bytes of tensors that were allocated at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def scaled(method: MethodConfig, model: str = "cnn-w8", **changes: Any) -> RunConfig:
    iid = {"partition.kind": "iid", "partition.alpha": 0.1}
    fields = {"model": model, "protocol.rounds": 2, "protocol.clients": 30, **iid, **changes}
    return override_all(tiny(method), fields)


@pytest.mark.parametrize(
    "config",
    [
        scaled(FedEcho(), **{"data.pool_size": 1000, "method.distill.batch_size": 250, "method.distill.steps": 2}),
        scaled(CA2FL()),
        scaled(FedAC()),
        scaled(FADAS()),
        scaled(FedStaleAsync()),
        scaled(AREA()),
        scaled(AdaMasFL()),
        scaled(FedBuff(ema=0.9)),
        scaled(FedBuff(), "cnn-batchnorm"),
        scaled(FedBuff(), "text-encoder", **{"data.name": "austen", "protocol.rounds": 3}),
        scaled(FedBuff(), **{"local.augment": True, "local.batch_size": 300, "data.train_size": 10_000}),
    ],
    ids=["fedecho", "ca2fl", "fedac", "fadas", "fedstaleasync", "area", "adamasfl", "ema", "data", "texts", "bytes"],
)  # fmt: skip
def test_prediction_is_within_a_fifth_of_what_is_measured(config: RunConfig) -> None:
    predicted = sum(peak.predicted_peak(config).values())
    assert predicted == pytest.approx(measured_peak(lambda: experiment.run(config)), rel=0.2)


VOCABULARY, CONTEXT = 500, 4


def continuing(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> RunConfig:
    """A server whose model predicts at every position which of 500 tokens comes next."""
    monkeypatch.setitem(TEXT_MODELS["classification"], "continues", lambda shape, classes: nn.Sequential(
        nn.Embedding(shape[0], 8), nn.Linear(8, classes)
    ))  # fmt: skip
    monkeypatch.setitem(work.SHAPES, "austen", ((VOCABULARY, CONTEXT), VOCABULARY))
    fields = {"model": "continues", "data.name": "austen", "data.pool_size": 60, "method.distill.batch_size": 20}
    return override_all(cost.base("smoke", REFERENCE), fields | changes)


FORMS = [{}, {"bank_dtype": "float16"}, {"bank_top_k": 8}, {"bank_labels": 50}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("block", [2**25, 20 * 7 * CONTEXT * VOCABULARY], ids=["whole", "blocks"])
def test_a_vocabulary_is_predicted_too(form: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "_BLOCK", block)
    config = continuing(monkeypatch, **{f"method.distill.{name}": value for name, value in form.items()})

    def work() -> None:
        server = stand_in.StandIn(config, Clock(), "cpu")
        for rnd in server.server.plan.rounds[:2]:
            server.round(rnd)

    said = peak.predicted_peak(config)
    del said["data"]  # a stand-in has none
    assert sum(said.values()) == pytest.approx(measured_peak(work), rel=0.1)


@pytest.mark.parametrize(("kept", "copies"), [("float32", 8), ("float16", 6)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_sorting_the_rows_of_all_clients_is_predicted(
    kept: str, copies: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "_BLOCK", 20 * 60 // blocks * CONTEXT * VOCABULARY)
    config = continuing(monkeypatch, **{"method.distill.bank_dtype": kept, "method.distill.trim": 0.3})
    whole = bank.Bank.empty(20, (60, CONTEXT, VOCABULARY), torch.device("cpu"), config.distill)
    whole.uploaded[:] = 0
    entries = 60 * CONTEXT * VOCABULARY
    sorting = copies * 20 * entries // blocks
    assert 4 * entries + sorting == peak._echo(config)  # beside the teacher
    assert sorting == pytest.approx(measured_peak(lambda: teacher(whole, config.distill)), rel=0.1)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_bank_of_a_vocabulary_takes_n_u_l_rows_and_their_sum(
    form: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = continuing(monkeypatch, **{f"method.distill.{name}": value for name, value in form.items()})
    row = {"bank_dtype": 2 * 500, "bank_top_k": 8 * (4 + 2) + 4, "bank_labels": 51 * 4}.get(
        next(iter(form), ""), 4 * 500
    )
    rows = 60 * CONTEXT
    assert work.predictions(config) == (rows, 500)
    assert work.bank_bytes(config) == (CONTEXT * row, 20 * rows * row)
    assert peak.predicted_peak(config)["state"] == 20 * rows * row + 8 * (rows * 500 + 20)
    server = stand_in.StandIn(config, Clock(), "cpu")
    assert server.state.bank.nbytes == 20 * rows * row
    held = server.round(server.server.plan.rounds[0])
    assert (held["uploads"], held["state"]) == tuple(
        work.predicted_bytes(config)[part] for part in ("uploads", "state")
    )


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of T rounds holds T GB at its peak, all of it data; a worker takes 1 GB besides."""
    monkeypatch.setattr(peak, "predicted_peak", lambda run: {"data": run.protocol.rounds * 10**9, "state": 0})
    monkeypatch.setattr(room, "total", lambda run: run.protocol.rounds * 10**9)
    monkeypatch.setattr(room, "WORKER", 10**9)


RUNS = [scaled(FedBuff(), **{"protocol.rounds": rounds, "seed": seed}) for rounds in (2, 5) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("workers", "needed", "words"),
    [
        (0, 5, "'5,000 MB' is not usable: 4,999 MB are free; lower what"),  # one, in this process
        (1, 6, "'6,000 MB of 1 workers' is not usable: 5,999 MB are free; lower what"),
        (2, 12, "run fewer at a time with --jobs, lower what takes most of it (data 5,000), or go on with --force"),
        (3, 15, "'15,000 MB of 3 workers'"),  # 5 + 5 + 2 + 3
        (9, 18, "'18,000 MB of 4 workers'"),  # there are no more runs than 4
    ],
)
def test_the_largest_runs_at_once_have_to_fit(
    workers: int, needed: int, words: str, sizes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: needed * 10**9)
    room.require_room(RUNS, workers)
    monkeypatch.setattr(room, "free_memory", lambda: needed * 10**9 - 10**6)
    with pytest.raises(InputError) as caught:
        room.require_room(RUNS, workers)
    assert words in str(caught.value)
    room.require_room(RUNS, workers, "cuda")
    monkeypatch.setattr(room, "free_memory", lambda: None)
    room.require_room(RUNS, workers)  # the system does not say


@pytest.mark.parametrize(
    ("method", "free", "words"),
    [
        (FedEcho(), 170, "set method.distill.bank_dtype = float16, which fits, or go on"),  # half of 200 MB
        (FedEcho(), 99, "set method.distill.bank_top_k = 1, which fits, or go on"),  # 1 x 5 + 4 bytes in place of 40
        (FedEcho(), 1, "(data 0.1, state 200), or go on"),
        (FedBuff(), 1, "(data 0.1, state 200), or go on"),
    ],
)
def test_a_smaller_bank_that_fits_is_named(
    method: MethodConfig, free: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(run: RunConfig) -> int:
        return 5_000_000 * (bank.row_bytes(10, run.distill) if run.distill else 40)

    monkeypatch.setattr(peak, "predicted_peak", lambda run: {"data": 10**5, "state": state(run)})
    monkeypatch.setattr(room, "total", state)
    monkeypatch.setattr(room, "free_memory", lambda: free * 10**6)
    with pytest.raises(InputError) as caught:
        room.require_room([scaled(method)])
    assert words in str(caught.value)


def test_models_of_ones_own_and_no_runs_have_room(sizes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 0)
    room.require_room([], 3)
    room.require_room([replace(RUNS[0], model="mine:net")], 3)
    with pytest.raises(InputError, match="memory"):
        room.require_room([replace(RUNS[0], model="lora:small", model_sha256="0" * 64)])


def test_of_runs_that_differ_in_their_seed_one_is_reckoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each draws a schedule, and there may be thousands."""
    asked = list[RunConfig]()
    monkeypatch.setattr(room, "total", lambda run: asked.append(run) or run.protocol.rounds)
    assert room.largest(RUNS, 3) == [(5, RUNS[2]), (5, RUNS[3]), (2, RUNS[0])]
    assert asked == [RUNS[0], RUNS[2]]


def test_activations_of_a_known_model() -> None:
    # Per image in float32: the unshuffled input 4x14x14, both convolutions' outputs after their ReLU, 16x7x7 and
    # 32x4x4, and the log-probabilities; beside them the label, 8 bytes.
    saved, largest = peak.activations("cnn", Data())
    assert saved == 4 * (4 * 14 * 14 + 16 * 7 * 7 + 32 * 4 * 4 + 10) + 8 and largest == 4 * 16 * 7 * 7


def test_a_bank_and_caches_enter_with_their_own_bytes() -> None:
    echo, cached = (peak.predicted_peak(scaled(m)) for m in (FedEcho(), CA2FL()))
    assert cached["state"] == 31 * 4 * work.model_size("cnn-w8", Data())[0]
    assert echo["state"] == 30 * 200 * 10 * 4 + 8 * (200 * 10 + 30)


def test_the_paper_scale_is_predicted_without_being_run() -> None:
    found = peak.predicted_peak(contenders.base("paper", contenders.CONTENDERS["CA2FL"], 0))
    assert found["state"] == 51 * 4 * 11_173_962
    assert found["data"] == 50_000 * (3072 + 8) + 10_000 * (4 * 3072 + 8) + 5_000 * 4 * 3072
    assert peak.text(contenders.base("smoke", contenders.CONTENDERS["FedBuff"], 0)).startswith(
        "predicted peak of tensors: "
    )
