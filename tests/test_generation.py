"""Whole runs that predict the next token: the same code and methods as for classes; samples; U written by the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fedecho import data
from fedecho.core.checks import InputError
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash, override_all
from fedecho.core.records import Record, dumps
from fedecho.core.rng import stream
from fedecho.core.settings import Data, Evaluation, Local, Partition, Protocol
from fedecho.data.splits import Texts, TextSplits, permutation
from fedecho.data.tokens import CONTEXT
from fedecho.learning import checkpoint, evaluation, experiment
from fedecho.learning.cost import duration, peak, work
from fedecho.learning.experiment import run
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.models.texts import TextDecoder
from fedecho.learning.resume import Keeper, Paused
from fedecho.learning.task import prepare
from fedecho.studies import contenders, verify
from fedecho.studies.tolerance import Tolerances

CPU = torch.device("cpu")
WORDS = ("she was not at all in the room of her own", "he had been so much as one could say to him", "it is a truth")


@pytest.fixture(autouse=True, scope="module")
def short_novels() -> Iterator[None]:
    """Three novels of a few chapters, each of words drawn from a line of its own."""

    def chapters(count: int, words: int) -> Texts:
        lines = [
            (WORDS[novel].split(), f"{novel}, {chapter} of {count}") for novel in range(3) for chapter in range(count)
        ]
        texts = [" ".join(line[k % len(line)] for k in permutation(name, words)) for line, name in lines]
        return Texts(tuple(texts), np.repeat(np.arange(3), count))

    made = TextSplits("austen", ("a", "b", "c"), chapters(4, 700), chapters(1, 300), chapters(1, 400), chapters(2, 300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_running_text", lambda: made)
        data.load_tokens.cache_clear()
        yield
    data.load_tokens.cache_clear()
    once.cache_clear()


def tiny(label: str = "FedBuff", **changes: Any) -> RunConfig:
    """A run of a tenth of a second."""
    contender = contenders.CONTENDERS[label]
    config = replace(
        contenders.base("smoke", contender, 0),
        data=Data("austen", task="generation", vocabulary=260, pool_size=6),
        model="text-decoder",
        partition=Partition(kind="natural", min_size=1),
        local=Local(lr=0.1, epochs=1, batch_size=20),
        evaluation=Evaluation(every=2),
    )
    return override_all(replace(config, protocol=contender.protocol(Protocol(10, 6, 2, 4))), changes)


def echo(**changes: Any) -> RunConfig:
    small = {"steps": 2, "batch_size": 4, "lr": 0.1}
    return tiny("FedEcho", **{f"method.distill.{name}": value for name, value in small.items()} | changes)


@cache
def once(config: RunConfig) -> Record:
    """What `run` returns, for tests that do not change it."""
    return run(config)


OWN = {"data.pool": "self", "method.distill.warmup_rounds": 2, "protocol.rounds": 6}


@pytest.mark.parametrize("label", contenders.CONTENDERS)
def test_every_contender_predicts_tokens(label: str) -> None:
    record = once(tiny(label))
    assert record.status == "done" and len(record.rows[-1]["per_class"]) == 3
    assert record.rows[-1]["loss"] < math.log(260)
    assert {"vocabulary_digest", "characters_per_token", "samples"} <= record.facts.keys()


@pytest.mark.parametrize("how", [{"bank_top_k": 8}, {"bank_dtype": "float16"}, {"source": "average"}], ids=str)
def test_fedecho_distils_on_tokens(how: dict[str, Any]) -> None:
    changed = run(echo(**{f"method.distill.{name}": value for name, value in how.items()}))
    assert changed.status == "done" and 0 <= changed.rows[-1]["entropy"] <= 1
    assert changed.rows[-1]["loss"] != once(echo()).rows[-1]["loss"] != once(tiny()).rows[-1]["loss"]


def test_a_run_is_a_pure_function_of_its_config() -> None:
    one, two = once(echo()), run(echo())
    assert one.rows == two.rows and one.facts == two.facts
    assert run(echo(seed=1)).facts["samples"] != one.facts["samples"]


def test_what_is_read_and_what_follows() -> None:
    made = prepare(tiny(), CPU)
    for part in (*made.clients, made.held_out):
        assert part.images.shape == part.labels.shape and part.images.shape[1] == CONTEXT
        assert torch.equal(part.images[:, 1:], part.labels[:, :-1])
    assert made.pool.shape == (6, CONTEXT) and made.decode is not None
    assert set(made.decode(made.pool[0].tolist()).split()[1:-1]) <= set(" ".join(WORDS).split())


def test_each_client_reads_one_novel() -> None:
    made = prepare(tiny(), CPU)
    assert made.decode is not None
    for client in made.clients:
        words = {word for block in client.images.tolist() for word in made.decode(block).split()[1:-1]}
        assert sum(words <= set(line.split()) for line in WORDS) == 1


def test_scores_are_means_over_tokens_by_hand() -> None:
    made = prepare(tiny(), CPU)
    weights = made.model.weights()
    scores = evaluation.evaluate(made.model, weights, made.held_out)
    logits = made.model.logits(made.held_out.images)
    chosen = logits.log_softmax(-1).gather(-1, made.held_out.labels[..., None])
    hits = (logits.argmax(-1) == made.held_out.labels).float()
    assert scores["loss"] == pytest.approx(-float(chosen.detach().mean()), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(float(hits.mean()))
    assert scores["per_class"] == pytest.approx(
        [float(hits[made.held_out.classes == novel].mean()) for novel in range(3)]
    )


def test_another_data_set_can_be_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Texts(("a film of great length , and much too long for all .",) * 60, np.zeros(60, np.int64))
    other = TextSplits("sst2", ("x",), one, one, one, one.unlabeled())
    monkeypatch.setattr(data, "load_texts", lambda name, root: other)
    made = prepare(tiny(**{"data.pool": "sst2"}), CPU)
    assert made.decode is not None and "great" in made.decode(made.pool.ravel().tolist())


def test_golden_run() -> None:
    """If this fails without a bug, the numerics have changed: raise NUMERICS_VERSION and remake the records."""
    assert NUMERICS_VERSION == 1
    record = run(echo(**{"local.lr": 0.3, "protocol.rounds": 8}))
    assert record.facts["vocabulary_digest"][:16] == "3cfc9319521bf4c0"
    # Other CPUs sum in another order.
    assert record.rows[-1]["loss"] == pytest.approx(2.6464, abs=0.003)


# Samples, and U of the model's own


def test_writing_goes_on_from_what_is_there_and_follows_the_distribution() -> None:
    torch.manual_seed(0)
    model = FlatModel(TextDecoder(9, CONTEXT, width=4))
    torch.nn.init.zeros_(model.module.tokens)  # then tokens are drawn in proportion to 1 / (id + 5)
    start = torch.arange(4000)[:, None] % 9
    written = evaluation.continued(model, model.weights(), start, 2, stream(0, "x"))
    shares = torch.bincount(written[:, 1:].ravel(), minlength=9) / 8000
    odds = 1 / torch.arange(5.0, 14.0)
    assert torch.equal(written[:, :1], start) and torch.allclose(shares, odds / odds.sum(), atol=0.02)
    cold = evaluation.continued(model, model.weights(), start[:9], 3, stream(0, "x"), temperature=1e-3)
    assert set(cold[:, 1:].ravel().tolist()) == {0}


def test_more_is_written_than_the_model_reads_at_once() -> None:
    model = FlatModel(TextDecoder(9, CONTEXT, width=4))
    written = evaluation.continued(model, model.weights(), torch.zeros(2, 1, dtype=torch.long), 40, stream(0, "x"))
    assert written.shape == (2, 41) and int(written.max()) < 9


def test_samples_begin_as_held_out_blocks_do() -> None:
    record, made = once(tiny()), prepare(tiny(), CPU)
    assert made.decode is not None
    prompts = [made.decode(block[: evaluation.PROMPT]) for block in made.held_out.images[:3].tolist()]
    assert [sample["prompt"] for sample in record.facts["samples"]] == prompts
    assert all(sample["text"] for sample in record.facts["samples"])


def pools(config: RunConfig) -> list[Any]:
    """U, as the method holds it, and the clients of the bank, after each round."""
    seen: list[Any] = []
    build = experiment.build

    def spied(*arguments: Any) -> Any:
        method = build(*arguments)

        def close_round(state: Any, x: Weights) -> Any:
            out = method.close_round(state, x)
            seen.append((out[0].pool, int(out[0].bank.seen().sum())))
            return out

        return replace(method, close_round=close_round)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "build", spied)
        run(config)
    return seen


def test_the_server_writes_u_once_after_the_warm_up() -> None:
    seen = pools(echo(**OWN))
    assert [pool is None for pool, _ in seen] == [True] + 5 * [False]
    assert [rows for _, rows in seen][:3] == [0, 0, 2]
    own = seen[-1][0]
    assert own.shape == (6, CONTEXT) and all(torch.equal(pool, own) for pool, _ in seen[1:])
    assert int(own[:, 0].max()) < evaluation.FIRST and len({tuple(row) for row in own.tolist()}) == 6
    assert not torch.equal(pools(echo(**OWN, seed=1))[-1][0], own)


def test_before_u_is_written_fedecho_is_what_it_is_around() -> None:
    one, two = once(echo(**OWN)), run(tiny(**{"protocol.rounds": 6}))
    assert one.rows[0]["loss"] == two.rows[0]["loss"] and one.rows[1]["loss"] != two.rows[1]["loss"]
    assert "entropy" not in one.rows[0] and "entropy" in one.rows[1]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_run_with_its_own_u_goes_on_after_a_stop(rounds: int, tmp_path: Path) -> None:
    path, ticks = tmp_path / "run.pt", iter(range(1000))
    keeper = Keeper(path, every=1e9, deadline=2 * rounds, now=lambda: float(next(ticks)))
    with pytest.raises(Paused) as pause:
        run(echo(**OWN), keeper=keeper)
    one, two = run(echo(**OWN), keeper=Keeper(path)), once(echo(**OWN))
    assert pause.value.round == rounds and one.rows == two.rows and one.facts == two.facts


# A vocabulary that is not the record's


def other_vocabulary(record: Record) -> Record:
    return replace(record, facts=record.facts | {"vocabulary_digest": "f" * 64})


def test_a_record_of_another_vocabulary_is_refused_by_both_digests() -> None:
    record = once(tiny())
    here = record.facts["vocabulary_digest"]
    with pytest.raises(InputError, match=f"vocabulary_digest = '{'f' * 64}'.*{record.hash}.*{here}") as caught:
        verify.compare(other_vocabulary(record), record, Tolerances({}))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_vocabulary_is_refused_by_both_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(Paused):
        run(tiny(), keeper=Keeper(path, deadline=0.0))
    before = checkpoint.read(path, tiny())["facts"]["vocabulary_digest"]
    monkeypatch.setattr("fedecho.data.tokens.Tokens.digest", "0" * 64)
    with pytest.raises(InputError, match=f"{before}.*run.pt.*{'0' * 64}"):
        run(tiny(), keeper=Keeper(path))


def test_what_a_model_wrote_elsewhere_does_not_make_a_record_false() -> None:
    record = once(tiny())
    elsewhere = replace(record, facts=record.facts | {"samples": []})
    assert not verify.compare(elsewhere, record, Tolerances({})).ok  # on the same machine the texts are the same
    elsewhere = replace(elsewhere, provenance={**record.provenance, "threads": 64})
    outcome = verify.compare(elsewhere, record, Tolerances({}))
    assert outcome.ok and not outcome.identical and dumps(elsewhere) != dumps(record)
    assert str(outcome).endswith("byte-equal but for what the model wrote")


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "text-encoder"}, "model = 'text-encoder' .* text-decoder"),
        ({"model": "cnn"}, "model = 'cnn' .* text-decoder"),
        ({"data.pool": "noise"}, "pool = 'noise' .* held-out, self, sst2, agnews, trec"),
        ({"data.pool_size": 10_000}, "pool_size = 10000 .* blocks of tokens"),
        ({"data.train_size": 10_000}, "train_size = 10000 .* client blocks of tokens"),
        ({"data.pool_mix": 0.5}, "pool_mix"),
        ({"data.validation_size": 100}, "validation_size"),
        ({"local.augment": True}, "crops are for images"),
        ({"protocol.clients": 13}, "class 1 has 3 chapters, so at most 10 clients"),
        ({"data.name": "fashion-mnist"}, "task = 'generation' .* only austen has running text"),
        ({"data.name": "sst2"}, "task = 'generation' .* only austen has running text"),
        ({"data.mask": False}, "mask = False"),
        ({"data.vocabulary": 256}, r"vocabulary = 256 .* \[257, 32768\]"),
        ({"data.vocabulary": 32_769}, "vocabulary = 32769 .* 32768"),
        ({"data.task": "classification"}, "vocabulary = 260 .* belongs to the task generation"),
        ({"data.task": "classification", "data.vocabulary": 1000, "data.pool": "self"}, "pool = 'self'"),
        ({"data.task": "classification", "data.vocabulary": 1000}, "model = 'text-decoder' .* text-encoder"),
    ],
)
def test_bad_input_is_found_before_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(tiny(**changes))
    assert "\n" not in str(caught.value)


def test_an_untrained_model_writes_no_u() -> None:
    with pytest.raises(InputError, match="warmup_rounds = 0 .* 1 or more rounds"):
        echo(**{"data.pool": "self"})
    assert run(tiny(**{"data.pool": "self"})).status == "done"  # a method that needs no U


def test_passages_have_no_chapters_to_hold() -> None:
    passages = override_all(
        tiny(), {"data.task": "classification", "data.vocabulary": 1000, "model": "text-encoder", "data.pool_size": 5}
    )
    with pytest.raises(InputError, match="these data have no chapters"):
        run(passages)


def test_the_task_leaves_the_hashes_of_earlier_runs_alone() -> None:
    config = contenders.base("smoke", contenders.CONTENDERS["FedBuff"], 0)
    same = replace(config, data=replace(config.data, task="classification", vocabulary=1000))
    assert config_hash(config) == config_hash(same)


def test_a_part_of_the_held_out_blocks_is_scored() -> None:
    part, whole = (prepare(tiny(**{"evaluation.size": size}), CPU).held_out for size in (20, None))
    assert part.images.shape == part.labels.shape == (20, CONTEXT) and len(whole.images) > 20
    for name in ("images", "labels", "classes"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[:20])


@pytest.mark.parametrize("pieces", [1, 2**13, 2**20])
def test_held_out_tokens_are_scored_alike_whatever_the_piece(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PIECE", pieces)
    made = prepare(tiny(), CPU)
    made.model.params.mul_(3)  # so that predictions differ
    scores = evaluation.evaluate(made.model, made.model.weights(), made.held_out)
    with torch.no_grad():
        logits, targets = made.model.logits(made.held_out.images), made.held_out.labels
    assert scores["loss"] == pytest.approx(float(F.cross_entropy(logits.flatten(0, 1), targets.flatten())), rel=1e-6)
    assert scores["accuracy"] == float((logits.argmax(-1) == targets).double().mean(1).mean())
    assert 0 < scores["accuracy"] < 1


def test_of_equal_logits_the_first_is_predicted() -> None:
    logits = torch.tensor([[[1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [3.0, 2.0, 1.0]], [[0.0, 0.0, 0.0]] * 3])
    targets = torch.tensor([[1, 2, 1], [0, 1, 2]])
    assert evaluation._hits(logits, targets).tolist() == [[True, False, False], [True, False, False]]


def test_models_of_nan_predict_nothing() -> None:
    assert evaluation._hits(torch.full((1, 2, 3), torch.nan), torch.tensor([[0, 1]])).tolist() == [[False, False]]


# Costs


def test_costs_are_predicted_for_tokens() -> None:
    novels = Data("austen", task="generation")
    parameters, buffers, flops = work.model_size("text-decoder", novels)
    assert (parameters, buffers) == (55_696, 0)
    assert flops > 32 * 2 * (1000 * 32 + 8 * 48 * 48)
    config = replace(echo(**{"method.distill.bank_top_k": 8}), data=replace(novels, pool_size=10))
    assert work.bank_bytes(config) == (32 * (8 * 6 + 4), 10 * 10 * 32 * (8 * 6 + 4))
    assert duration.operations(config) > 0
    assert peak.data_bytes(config)["U"] == 10 * 32 * 8
    assert peak.predicted_peak(config)["temporary"] >= 2 * 4 * evaluation.PIECE
