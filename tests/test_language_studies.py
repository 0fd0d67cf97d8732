"""The language block: what is compared where, what is trained without other data sets, what is read off records."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedecho import studies
from fedecho.core import records
from fedecho.core.clock import Clock
from fedecho.core.config import override_all, to_dict
from fedecho.core.records import Record
from fedecho.learning.experiment import new_record
from fedecho.report.summary import Cell
from fedecho.studies import samples
from fedecho.studies.comparison import Comparison
from fedecho.studies.generation import NATURAL, TEACHERS, perplexity
from fedecho.studies.grid import DIR
from fedecho.studies.teacher import HEARD
from fedecho.studies.vocabulary import FORMS, VOCABULARIES, allocated, bits, position_bytes
from tests import toy
from tests.sound import sound
from tests.test_studies import cells_of, trained
from tests.test_summary import put

DOWNLOADED = {"sst2", "agnews"}


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "nothing"))
    return tmp_path


def test_the_main_table_has_every_place_and_the_stated_seeds() -> None:
    cells = cells_of("language")
    assert len({(cell.setting, cell.delay) for cell in cells}) == 3 * 3 * 2 + 1
    assert len({cell.method for cell in cells}) == 10 + len(HEARD)
    heard = {cell.setting for cell in cells if cell.method in {row.label for row in HEARD}}
    assert heard == {"Austen, stragglers own 2 novels"}
    for name in ("austen", *DOWNLOADED):
        seeds = {c.config.seed for c in cells if c.config.data.name == name}
        assert seeds == set(range(15 if name == "austen" else 5))  # the fresh ones of the claim on Austen's novels


def test_stragglers_own_two_novels_or_one_class() -> None:
    owned = {
        (cell.config.data.name, cell.config.partition.straggler_classes, cell.config.delays.speed_counts)
        for cell in cells_of("language")
        if "own" in cell.setting
    }
    assert owned == {("austen", 2, (25, 16, 9)), ("sst2", 1, (25, 16, 9)), ("agnews", 1, (25, 16, 9))}


def test_names_are_masked_but_for_one_place() -> None:
    kept = {cell.setting for cell in cells_of("language") if not cell.config.data.mask}
    assert kept == {"Austen, names kept, Dir(0.1)"}


@pytest.mark.parametrize("name", ["language", "language_pools", "generation_pools"])
def test_what_lacks_its_data_is_told_and_the_rest_is_trained(name: str, nothing: Path) -> None:
    study = trained(name, "smoke")
    here = {source for run in study.trainable() for source in (run.data.name, run.data.pool)}
    assert here and not here & {*DOWNLOADED, "trec"}
    refused = [run for obstacle in study.obstacles() for run in obstacle.runs]
    assert len(refused) + len(study.trainable()) == len(study.configs)
    assert all("put " in obstacle.why and "FEDECHO_DATA" in obstacle.why for obstacle in study.obstacles())


def test_records_make_a_table_where_the_data_are_absent(nothing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = studies.language("smoke", settings=[DIR], delays=["large"], seeds=[0])
    assert isinstance(study, Comparison)
    for cell in study.asked():
        if cell.config.data.name == "austen":
            put(study.places[0], cell.config, 0.5)
    made = studies.make(study)
    assert "runs are not trained, data = 'sst2'" in capsys.readouterr().err
    assert made.tables["md"].read_text().count("not run") >= 7 * 2
    assert set(made.figures) == {"bars", "others", "curves_rounds"}


@pytest.mark.parametrize(("texts", "figures"), [
    (["Austen"], {"bars", "curves_rounds"}), (["AG News", "SST-2"], {"others"}), (["Austen, names kept"], set()),
])  # fmt: skip
def test_only_figures_of_chosen_texts_are_drawn(texts: list[str], figures: set[str], nothing: Path) -> None:
    study = studies.language("smoke", texts=texts, settings=[DIR], methods=["FedBuff"], seeds=[0])
    assert set(study.table().figures) == figures


# Running text


def test_samples_of_its_own_come_as_late_as_held_out_text_in_their_control() -> None:
    cells = [c for c in cells_of("generation_pools") if c.config.method.name == "fedecho"]
    late = {c.method: c.config.method.distill.warmup_rounds for c in cells}  # type: ignore[attr-defined]
    late = {label: rounds for label, rounds in late.items() if label not in {row.label for row in TEACHERS}}
    assert late == {"held-out": 0, "held-out, from a fifth on": 20, "its own samples": 20, "SST-2": 0}


def test_every_form_of_the_bank_meets_every_vocabulary() -> None:
    cells = cells_of("bank_vocabulary")
    assert {(c.setting, c.method) for c in cells} == {
        (f"V = {size}", form) for size in VOCABULARIES["laptop"] for form in FORMS
    }
    (whole,) = {c.config for c in cells_of("generation") if _is_main(c)}
    assert whole in {c.config for c in cells if c.method == "all"}


def _is_main(cell: Cell) -> bool:
    return (cell.setting, cell.delay, cell.method, cell.config.seed) == (NATURAL, "large", "FedEcho", 0)


def text_record(loss: float = math.log(8), **fields: object) -> Record:
    config = cells_of("bank_vocabulary", "smoke")[0].config
    facts = {"characters_per_token": 1.5, "arrivals_slow": 0.25, "samples": [{"prompt": "it was", "text": "so"}]}
    row = {"round": 5, "accuracy": 0.25, "loss": loss, "rejected": 0}
    return replace(new_record(config, "done", [row], facts, Clock(), {}), **fields)  # type: ignore[arg-type]


def test_perplexity_and_bits_by_hand() -> None:
    assert perplexity(text_record()) == pytest.approx(8)
    assert bits(text_record()) == pytest.approx(3 / 1.5)
    assert np.isnan(perplexity(text_record(status="diverged")))
    assert perplexity(text_record(loss=1e4)) == math.inf


@pytest.mark.parametrize(("form", "size"), [("all", 4 * 257), ("all, float16", 2 * 257), ("top-4", 4 * (4 + 2) + 4)])
def test_bytes_of_a_prediction_by_hand(form: str, size: int) -> None:
    (cell,) = [
        c for c in cells_of("bank_vocabulary", "smoke") if (c.method, c.setting, c.config.seed) == (form, "V = 257", 0)
    ]
    record = replace(text_record(), config=to_dict(cell.config))
    rows = 10 * 10 * 32  # clients, texts of U, positions
    assert position_bytes(record) == size
    assert allocated(record) == (rows * size, 8 * 257 * rows / 10)


def test_samples_are_read_off_the_records(nothing: Path) -> None:
    study = trained("generation", "smoke")
    assert samples.markdown(study, NATURAL, "large") == "No run has a record yet."
    config = next(cell.config for cell in study.asked() if _is_main(cell))
    made = text_record(config=to_dict(config), hash=records.config_hash(config))
    records.save(sound(made), records.record_path(study.places[0], config))
    rows = "FedEcho", "FedEcho (tuned eta)"  # of the same run: tuning left eta at 1
    assert samples.markdown(study, NATURAL, "large") == "\n".join(f"* **{row}**: *it was* so" for row in rows)


def test_samples_are_shown_letter_by_letter_whatever_a_model_writes() -> None:
    assert samples._literal("it\x1b was") == "it was"
    assert samples._literal("*a* <b> [c] `d` e_f \\") == r"\*a\* \<b\> \[c\] \`d\` e\_f \\"


def test_frequencies_alone_are_a_yardstick() -> None:
    config = cells_of("generation", "smoke")[0].config
    more = override_all(config, {"data.train_size": 2000})
    known = samples.unigram_perplexity(more)
    assert 1 < known < 257  # fewer choices than all tokens, since some are frequent
    right, pairs = samples.bigram(more)
    assert 1 < pairs < known and 0 < right < 1


def test_pairs_of_tokens_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    read, ahead = torch.tensor([[0, 1, 0]]), torch.tensor([[1, 0, 1]])  # 0 1 0 1
    client, held_out = (
        SimpleNamespace(images=read, labels=ahead),
        SimpleNamespace(images=read[:, :1], labels=ahead[:, 1:2]),
    )
    monkeypatch.setattr(samples, "prepare", lambda *_: SimpleNamespace(clients=[client], held_out=held_out))
    config = cells_of("generation", "smoke")[0].config
    p_zero = 2 / (257 + 3)  # of 257 tokens 1 0 1 are to be predicted, and each counts once more
    right, perplexity = samples.bigram(config)
    assert right == 0  # after 0 came 1, both times
    assert perplexity == pytest.approx((2 + samples.PRIOR) / (samples.PRIOR * p_zero))


def test_tuning_searches_the_space_of_its_profile() -> None:
    rates = [trial.factors["local.lr"] for trial in toy.trial_cells("generation") if trial.method == "FedEcho"]
    assert 0.05 < min(rates) < max(rates) < 5 and max(rates) > 4


@pytest.mark.parametrize(("name", "count"), [("language_pools", 5), ("generation", 8), ("generation_pools", 8)])
def test_texts_have_all_seeds_of_their_profile_in_every_block(name: str, count: int) -> None:
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells_of(name):
        seeds.setdefault((cell.setting, cell.delay, cell.method), []).append(cell.config.seed)
    for (_, delay, _), found in seeds.items():
        assert found == list(range(count if delay == "large" else 5))
