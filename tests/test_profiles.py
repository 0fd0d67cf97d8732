"""The tables' runs: complete, paired, fairly tuned, and never on a tuning seed or the tuning split."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fedecho import studies
from fedecho.core.checks import InputError
from fedecho.core.config import METHODS, config_hash
from fedecho.studies import contenders, profiles
from fedecho.studies.grid import DELAYS, PARTITIONS, Setting, Variant, fresh, has_fresh, main_methods
from fedecho.studies.search import AROUND, Range
from fedecho.studies.tuning import Tuning
from tests.toy import doubles, main_cells, trial_cells


@pytest.mark.parametrize("name", [*profiles.WHOLE, *profiles.BLOCKS["cifar"].values()])
def test_vision_table_is_complete_and_without_repetition(name: str) -> None:
    cells = main_cells(name)
    labels = contenders.rows_of(name)
    tuned = contenders.TUNED.get(name, labels)
    rows = [label for label in labels if label in tuned]
    places = {(cell.method, cell.setting, cell.delay) for cell in cells}
    assert len(places) == len(rows) * (4 if name in profiles.WHOLE else 2) * 2
    whole, late = len(profiles.PROFILES[name].seeds), len(fresh(name))
    seeds = [whole + late * has_fresh(name, Variant(row, contender=row), Setting(at)) for row, at, _ in places]
    assert len(cells) == sum(seeds)
    assert len({config_hash(cell.config) for cell in cells}) == sum(cell.method not in doubles(name) for cell in cells)


def test_rows_and_blocks_of_the_main_table_have_one_order() -> None:
    labels = [label for label in contenders.CONTENDERS if label in contenders.TUNED["smoke"]]
    assert list(dict.fromkeys(cell.method for cell in main_cells("smoke"))) == labels
    blocks = [(setting, delay) for setting in PARTITIONS for delay in DELAYS]
    assert list(dict.fromkeys((cell.setting, cell.delay) for cell in main_cells("smoke"))) == blocks


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_cells_of_a_comparison_share_everything_but_the_method(name: str) -> None:
    groups = defaultdict(list)
    for cell in main_cells(name):
        groups[cell.setting, cell.delay, cell.config.seed].append(cell.config)
    for configs in groups.values():
        assert len({(c.data, c.partition, c.delays, c.model) for c in configs}) == 1
        assert len({c.protocol.rounds * c.protocol.buffer_size for c in configs}) == 1  # equal local work
        assert len({c.evaluation.every * c.protocol.buffer_size for c in configs}) == 1
        assert {c.evaluation.split for c in configs} == {"test"}


def test_every_method_has_a_contender() -> None:
    assert {contender.method.name for contender in contenders.CONTENDERS.values()} == set(METHODS)


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_tuning_is_equal_for_all_and_apart_from_what_is_reported(name: str) -> None:
    trials, of = trial_cells(name), profiles.PROFILES[name]
    tried = defaultdict(set)
    for cell in trials:
        tried[cell.method].add(tuple(cell.factors.items()))
    assert set(tried) == set(contenders.rows_of(name))
    # The values in use, the whole space, and as many around the best once those are there; some coincide.
    assert {of.trials <= len(points) <= 1 + of.trials + AROUND * of.refinements for points in tried.values()} == {True}
    assert {trial.config.evaluation.split for trial in trials} == {"validation"}
    assert {trial.config.seed for trial in trials} == set(of.tuning_seeds)
    assert not {*of.tuning_seeds} & {*of.seeds}


DAYS = ("paper", "cifar-resnet")
"""What trains there takes days."""


@pytest.mark.parametrize(
    "name", [name for name in profiles.PROFILES if not name.endswith("smoke") and name not in DAYS]
)
def test_every_search_has_a_dozen_trials_on_two_seeds_and_a_refinement(name: str) -> None:
    of = profiles.PROFILES[name]
    assert of.trials >= 12 and of.refinements >= 1 and of.tuning_seeds == (1000, 1001)


def test_a_trial_of_the_residual_network_is_shorter_and_said_to_be() -> None:
    tuning = studies.TABLES["cifar_resnet_tuning"]("laptop")
    assert isinstance(tuning, Tuning)
    work = {cell.method: cell.config.protocol.rounds * cell.config.protocol.buffer_size for cell in tuning.asked()}
    assert len(work) == 6 and set(work.values()) == {100 * 5}  # FedAvg's too
    assert "over 100 rounds" in tuning.caption and "over seed 1000," in tuning.caption
    assert "large delays over 100 rounds, on seed 1000, which" in contenders.search_words("cifar-resnet")
    assert "large delays, on seeds 1000 and 1001, which" in contenders.search_words("laptop")


def test_every_method_searches_its_local_and_its_server_rate() -> None:
    fixed = {"FedBuff", "CA2FL", "FedEcho"}  # as published, eta = 1: they have a second row
    without = {"AREA"}  # its model is a mean of models
    for label, contender in contenders.CONTENDERS.items():
        paths = set(contender.space)
        assert "local.lr" in paths and len(paths) <= 3
        server = {"method.server_lr", "method.inner.server_lr", "method.mixing"} & paths
        assert bool(server) == (label not in fixed | without)
    assert {f"{label} (tuned eta)" for label in fixed} <= set(contenders.CONTENDERS)


@pytest.mark.parametrize("label", ["FedStaleAsync", "FedBuff"])
def test_a_row_is_searched_before_it_has_values_and_compared_only_then(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"local.lr": 0.1}
    for known, tables in ((None, 0), (values, 1)):
        rest = {row: found for row, found in contenders.TUNED["laptop"].items() if row != label}
        monkeypatch.setitem(contenders.TUNED, "laptop", rest if known is None else rest | {label: known})
        assert [v.label for v in main_methods("laptop")].count(label) == tables
        tuning = studies.TABLES["tuning"]("laptop", methods=[label])
        assert {cell.method for cell in tuning.asked()} == {label}


def test_a_fields_own_range_says_how_it_is_searched() -> None:
    config = contenders.base("laptop", contenders.CONTENDERS["FedBuff + EMA"], 0)
    assert contenders.range_of(config, "local.lr", 0.1, 0.2) == Range(0.1, 0.2)
    assert contenders.range_of(config, "method.ema", 0.0, 0.9) == Range(0.0, 0.9, limit=1.0, decay=True)
    mixing = contenders.space_of(contenders.CONTENDERS["FedAsync"], "laptop")["method.mixing"]
    assert mixing == Range(0.03, 1.0, limit=1.0)


def test_a_search_begins_with_what_was_in_use() -> None:
    def start(label: str, name: str) -> dict[str, float]:
        return contenders.start_of(contenders.CONTENDERS[label], name)

    assert start("FedBuff + EMA", "laptop") == {"local.lr": 0.0903, "method.server_lr": 1.0, "method.ema": 0.95}
    assert start("CA2FL (tuned eta)", "laptop") == {"local.lr": 0.0554, "method.server_lr": 1.0}  # CA2FL's own
    assert start("FADAS", "paper") == {"local.lr": 0.1, "method.server_lr": 1e-3, "method.beta1": 0.9}


@pytest.mark.parametrize(
    "name", ["tuning", "cifar_tuning", "cifar_resnet_tuning", "language_tuning", "generation_tuning"]
)
def test_tables_use_what_the_records_chose_and_nothing_at_an_edge(name: str) -> None:
    study = studies.TABLES[name]("laptop")
    assert isinstance(study, Tuning) and not study.edges()
    chosen, found = study.chosen(), contenders.FOUND[study.at]
    assert chosen == {
        label: contenders.complete(contenders.CONTENDERS[label], study.at, found[label][-1]) for label in chosen
    }
    # What its search has not decided yet stays as it was before; what is pending has been decided.
    assert all(len(points) == 1 for label, points in found.items() if label not in chosen)
    pending = contenders.PENDING.get(study.at, ())
    assert {label: contenders.TUNED[study.at][label] for label in pending} == {
        label: found[label][0] for label in pending
    }
    assert all(len(found[label]) == 2 for label in pending)


def test_tuned_values_enter_the_table() -> None:
    for cell in main_cells("laptop"):
        assert contenders.tuned(cell.config, cell.method, "laptop") == cell.config
        assert cell.config.local.lr == contenders.TUNED["laptop"][cell.method]["local.lr"]


def test_profiles_without_tuning_keep_the_protocols_values() -> None:
    assert {cell.config.local.lr for cell in main_cells("paper")} == {0.1}


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_tuning_has_a_validation_split(name: str) -> None:
    config = trial_cells(name)[0].config
    assert config.data.name in ("fashion-mnist", "austen") or config.data.validation_size >= 1000


@pytest.mark.parametrize("name", sorted(set(profiles.BLOCKS["cifar"].values())))
def test_a_block_trains_on_the_same_images_while_tuning(name: str) -> None:
    (tuned,), (shown,) = (
        {t.config.data for t in trial_cells(name)},
        {c.config.data for c in main_cells(name)},
    )
    assert tuned == shown and tuned.name == "cifar10" and tuned.pool == "cifar100-20k"


def test_a_block_is_no_scale_of_whole_tables() -> None:
    assert profiles.whole("paper").model == "resnet18"
    with pytest.raises(InputError, match="profile = 'cifar-small' .* smoke, laptop, paper; .* --only cifar"):
        profiles.whole("cifar-small")


def test_stragglers_own_classes_at_fixed_speeds() -> None:
    owned = [c for c in main_cells("laptop") if "stragglers own" in c.setting]
    assert {c.config.partition.straggler_mix for c in owned} == {"mixed", "pure"}
    assert {c.config.delays.speed_counts for c in owned} == {(25, 16, 9)}
    assert {c.config.partition.straggler_classes for c in owned} == {2}


def test_single_run_of_each_method() -> None:
    for name in METHODS:
        assert contenders.configure(name, "smoke", 3).method.name == name
    assert contenders.configure("fedasync", "laptop").protocol.buffer_size == 1
    assert contenders.configure("fedavg", "laptop").protocol.concurrency == 5


def test_unknown_profile() -> None:
    with pytest.raises(InputError, match="smoke, laptop, paper"):
        profiles.profile("cluster")


@pytest.mark.parametrize("name", [name for name in studies.TABLES if not name.endswith("tuning")])
def test_no_table_reports_a_seed_that_tuning_may_use(name: str) -> None:
    study = studies.TABLES[name]()
    shown = {cell.config.seed for cell in study.asked() if cell.config.evaluation.split == "test"}
    assert shown <= profiles.profile(study.at).reported
