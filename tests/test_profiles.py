"""The tables' runs: complete, paired, fairly tuned, and never on a tuning seed or the tuning split."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from fedecho import studies
from fedecho.core.checks import InputError
from fedecho.core.config import METHODS, config_hash
from fedecho.studies import contenders, profiles
from fedecho.studies.grid import DELAYS, PARTITIONS, main_methods
from fedecho.studies.tuning import Tuning
from tests.toy import main_cells, trial_cells


@pytest.mark.parametrize("name", [*profiles.WHOLE, *profiles.BLOCKS["cifar"].values()])
def test_vision_table_is_complete_and_without_repetition(name: str) -> None:
    cells = main_cells(name)
    seeds = len(profiles.PROFILES[name].seeds)
    assert len(cells) == (10 * 4 if name in profiles.WHOLE else 5 * 2) * 2 * seeds
    # Until a profile is tuned, FedBuff with tuned eta is FedBuff.
    untuned = 0 if name in contenders.TUNED or name not in profiles.WHOLE else 4 * 2 * seeds
    assert len({config_hash(cell.config) for cell in cells}) == len(cells) - untuned
    assert set(Counter((c.method, c.setting, c.delay) for c in cells).values()) == {seeds}


def test_rows_and_blocks_of_the_main_table_have_one_order() -> None:
    assert list(dict.fromkeys(cell.method for cell in main_cells("smoke"))) == list(contenders.CONTENDERS)
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
    trials = trial_cells(name)
    per_method = Counter(trial.method for trial in trials)
    assert set(per_method) == {variant.label for variant in main_methods(name)}
    assert set(per_method.values()) == {profiles.PROFILES[name].trials * len(profiles.PROFILES[name].tuning_seeds)}
    assert {trial.config.evaluation.split for trial in trials} == {"validation"}
    assert not {trial.config.seed for trial in trials} & set(profiles.PROFILES[name].seeds)


def test_trials_are_distinct_repeatable_and_inside_the_search_space() -> None:
    for contender in contenders.CONTENDERS.values():
        points = contenders.trials(contender, 8)
        assert points == contenders.trials(contender, 8)
        for path, (low, high) in contender.space.items():
            values = [point[path] for point in points]
            assert len(set(values)) == 8 and low <= min(values) < max(values) <= high


@pytest.mark.parametrize("name", ["tuning", "cifar_tuning", "language_tuning", "generation_tuning"])
def test_tuned_values_are_those_of_the_records(name: str) -> None:
    study = studies.TABLES[name]("laptop")
    assert isinstance(study, Tuning) and study.chosen() == contenders.TUNED[study.at]


def test_tuned_values_enter_the_table() -> None:
    for cell in main_cells("laptop"):
        assert contenders.tuned(cell.config, cell.method, "laptop") == cell.config
        assert cell.config.local.lr == contenders.TUNED["laptop"][cell.method]["local.lr"]


def test_profiles_without_tuning_keep_the_protocols_values() -> None:
    assert {cell.config.local.lr for cell in main_cells("paper")} == {0.1}


def test_values_at_the_edge_of_the_search_space_are_named() -> None:
    rates = sorted(point["local.lr"] for point in contenders.trials(contenders.CONTENDERS["FedBuff"], 8))
    assert contenders.at_edge({"FedBuff": {"local.lr": rates[3]}}, 8) == []
    assert contenders.at_edge({"FedBuff": {"local.lr": rates[0]}}, 8) == [f"FedBuff lr = {rates[0]:g} (smallest tried)"]


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
        assert contenders.single(name, "smoke", 3).method.name == name
    assert contenders.single("fedasync", "laptop", 0).protocol.buffer_size == 1
    assert contenders.single("fedavg", "laptop", 0).protocol.concurrency == 5


def test_unknown_profile() -> None:
    with pytest.raises(InputError, match="smoke, laptop, paper"):
        profiles.profile("cluster")
