"""Bad input gets one line with field, value and what is allowed; the hash names what a run is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, config_hash, from_dict, override, to_dict
from fedecho.core.settings import Data, Delays, Evaluation, Local, Partition, Protocol
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import CA2FL, FADAS, AdaMasFL, FedAC, FedAsync, FedAvg, FedBuff, FedEcho, FedStaleAsync

SHA256 = "0" * 64
BAD: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Distillation(alpha_min=0.9), "alpha_max = 0.8", r"\[0.9, 1\]"),
    (lambda: Distillation(alpha_max=1.5), "alpha_max = 1.5", r"a number in \[0, 1\]$"),
    (lambda: Distillation(clip_norm=0.0), "clip_norm = 0.0", "a number > 0 or none$"),
    (lambda: Distillation(clip_norm=-1.0), "clip_norm = -1.0", "a number > 0 or none$"),
    (lambda: Distillation(lr=-0.1), "lr = -0.1", ">= 0"),
    (lambda: Distillation(steps=-1), "steps = -1", "a whole number >= 0$"),
    (lambda: Distillation(temperature=0.0), "temperature = 0.0", "> 0"),
    (lambda: Distillation(average="median"), "average = 'median'", "logits, probabilities"),  # type: ignore[arg-type]
    (lambda: Protocol(50, 4, 5), "buffer_size = 5", "between 1 and M_c = 4"),
    (lambda: Protocol(10, 11, 5), "concurrency = 11", "between 1 and N = 10"),
    (lambda: Protocol(rounds=0), "rounds = 0", ">= 1"),
    (lambda: Partition(alpha=0.0), "alpha = 0.0", "> 0"),
    (lambda: Partition(min_size=0), "min_size = 0", ">= 1"),
    (lambda: Local(lr=0.0), "lr = 0.0", "> 0"),
    (lambda: Local(lr="0.1"), "lr = '0.1'", "a number"),  # type: ignore[arg-type]
    (lambda: Local(lr=True), "lr = True", "a number"),
    (lambda: Local(augment=1), "augment = 1", "true or false"),  # type: ignore[arg-type]
    (lambda: Local(epochs=1.5), "epochs = 1.5", "a whole number"),  # type: ignore[arg-type]
    (lambda: Local(weight_decay=-1e-4), "weight_decay", ">= 0"),
    (lambda: Data(pool_size=0), "pool_size = 0", ">= 1"),
    (lambda: Data(pool="stl11"), "pool = 'stl11'", "one of held-out, .*stl10"),  # type: ignore[arg-type]
    (lambda: Data(pool_mix=0.6), "pool_mix = 0.6", r"\[0, 0.5\]"),
    (lambda: Data(pool_mix=-0.1), "pool_mix = -0.1", r"\[0, 0.5\]"),
    (lambda: Data(pool_mix=0.1, pool_size=1), "pool_size = 1", "at least 2"),
    (lambda: Data("cifar10", pool="cifar10"), "pool = 'cifar10'", "the clients' own cifar10"),
    (lambda: Data("cifar100", pool="cifar100"), "pool = 'cifar100'", "the clients' own cifar100"),
    (lambda: Data("cifar100", pool="cifar100-20k"), "pool = 'cifar100-20k'", "the clients' own cifar100"),
    (lambda: Data("sst2", pool="sst2"), "pool = 'sst2'", "the clients' own sst2"),
    (lambda: Evaluation(every=0), "every = 0", ">= 1"),
    (lambda: Evaluation(size=0), "size = 0", ">= 1"),
    (lambda: Delays("slow"), "model = 'slow'", "mild, large"),  # type: ignore[arg-type]
    (lambda: Delays("mild", shape=2.0), "shape = 2.0", "no meaning"),
    (lambda: Delays("trace"), "trace = None", "CSV"),
    (lambda: Delays(speed_counts=(5, 5)), "speed_counts = (5, 5)", r"\(a whole number >= 0, .*\) or none$"),  # type: ignore[arg-type]
    (lambda: Delays(speed_counts=(51, 0, -1)), "speed_counts = (51, 0, -1)", r"\(a whole number >= 0, .*\) or none$"),
    (lambda: FedBuff(server_lr=-1.0), "server_lr = -1.0", "> 0"),
    (lambda: FedAvg(server_lr=0.0), "server_lr = 0.0", "> 0"),
    (lambda: FedBuff(ema=1.0), "ema = 1.0", r"\[0, 1\)"),
    (lambda: FedAsync(mixing=1.1), "mixing = 1.1", r"\(0, 1\]"),
    (lambda: CA2FL(server_lr=-1.0), "server_lr = -1.0", "> 0"),
    (lambda: FedBuff(ema=-0.1), "ema = -0.1", r"in \[0, 1\) or none$"),
    (lambda: FADAS(beta1=1.0), "beta1 = 1.0", r"\[0, 1\)"),
    (lambda: FedAC(similarity_floor=0.0), "similarity_floor = 0.0", r"\(0, 1\]"),
    (lambda: FedStaleAsync(beta=1.1), "beta = 1.1", r"\[0, 1\]"),
    (lambda: FedStaleAsync(participation="half"), "participation = 'half'", "uniform, certain"),  # type: ignore[arg-type]
    (lambda: FedStaleAsync(server_lr=0.0), "server_lr = 0.0", "> 0"),
    (lambda: AdaMasFL(beta=0.0), "beta = 0.0", r"\(0, 1\]"),
    (lambda: AdaMasFL(server_lr=-1.0), "server_lr = -1.0", "> 0"),
    (lambda: FedEcho(inner=FedBuff(ema=0.9)), "inner.ema = 0.9", "leave it out"),
    (lambda: RunConfig(FedBuff(), seed=-1), "seed = -1", ">= 0"),
    (lambda: RunConfig(FedBuff(), partition=Partition(straggler_classes=2)), "straggler_classes = 2", "speed_counts"),
    (lambda: RunConfig(FedBuff(), delays=Delays(speed_counts=(1, 2, 3))), "speed_counts = (1, 2, 3)", "N = 50"),
]


@pytest.mark.parametrize(("make", "field", "allowed"), BAD)
def test_bad_input_is_named_in_one_line(make: Callable[[], object], field: str, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith(field) and re.search(allowed, message) and "\n" not in message


ALONE = Protocol(50, 25, 1)
OFF = "nothing is distilled; leave it "
UNREAD: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Data(sha256=SHA256), "sha256 = ", "only a file .npz has one; leave it out"),
    (lambda: Data(mask=False), "mask = False", "leave it at True"),
    (lambda: Data(vocabulary=500), "vocabulary = 500", "leave it at 1000"),
    (lambda: Partition("iid", alpha=0.5), "alpha = 0.5", "kind iid draws no shares; leave it at 0.1"),
    (lambda: Partition("natural", alpha=0.5), "alpha = 0.5", "kind natural draws no shares"),
    (lambda: Partition("natural", straggler_classes=1, straggler_mix="pure"), "straggler_mix = 'pure'", "no shares"),
    (lambda: Partition("iid", max_redraws=5), "max_redraws = 5", "no shares"),
    (lambda: Partition(too_small="top up", max_redraws=5), "max_redraws = 5", "drawn once"),
    (lambda: Partition(straggler_share=0.5), "straggler_share = 0.5", "own no class; leave it at 1.0"),
    (lambda: Partition(straggler_mix="pure"), "straggler_mix = 'pure'", "own no class; leave it at mixed"),
    (lambda: Delays(trace_sha256=SHA256), "trace_sha256 = ", "only the model trace has; leave it out"),
    (lambda: Delays(function_sha256=SHA256), "function_sha256 = ", "only the model function has"),
    (lambda: RunConfig(FedBuff(), protocol=replace(ALONE, dispatch="on_arrival")), "dispatch = ", "M = 1"),
    (lambda: RunConfig(FedBuff(), protocol=replace(ALONE, delta="fadas_code")), "delta = 'fadas_code'", "M = 1"),
    (lambda: RunConfig(FedBuff(staleness_exponent=0.5), protocol=Protocol(50, 5, 5)), "staleness_exponent = 0.5",
     "no update is stale; leave it at 0.0"),
    (lambda: RunConfig(FedEcho(FedBuff(staleness_exponent=0.5)), protocol=Protocol(50, 5, 5)), "staleness_exponent = ",
     "no update is stale"),
    (lambda: RunConfig(FedEcho(distill=Distillation(warmup_rounds=300))), "warmup_rounds = 300", "T = 300 rounds"),
    (lambda: FedAsync(staleness="hinge", polynomial_a=1.0), "polynomial_a = 1.0", "is hinge; leave it at 0.5"),
    (lambda: FedAsync(hinge_a=1.0), "hinge_a = 1.0", "is polynomial; leave it at 10.0"),
    (lambda: FedAsync(staleness="constant", hinge_b=1.0), "hinge_b = 1.0", "is constant"),
    (lambda: FADAS(delay_threshold=3.0), "delay_threshold = 3.0", "delay_adaptive off"),
    (lambda: FedAC(correction="none", control_step="weighted"), "control_step = ", "c stays 0"),
    (lambda: Distillation(steps=0, temperature=2.0), "temperature = 2.0", f"{OFF}at 1.0"),
    (lambda: Distillation(lr=0.0, bank_top_k=3), "bank_top_k = 3", f"{OFF}out"),
    (lambda: Distillation(clip_norm=None, clip="value"), "clip = 'value'", "nothing is clipped"),
    (lambda: Distillation(alpha_min=0.5, alpha_max=0.5, alpha_scope="sample"), "alpha_scope = ", "0.5 throughout"),
    (lambda: Distillation(alpha_min=0, alpha_max=0, alpha_direction="falling"), "alpha_direction = ", "0 throughout"),
    (lambda: Distillation(alpha_min=1, alpha_max=1, hard_label="majority"), "hard_label = ", "without hard labels"),
    (lambda: Distillation(alpha_min=0, alpha_max=0, kl="reverse"), "kl = 'reverse'", "without KL"),
    (lambda: Distillation(teachers="fresh", bank_decay=0.5), "bank_decay = 0.5", "no age; leave it at 1.0"),
    (lambda: Distillation(teachers="fresh", bank_max_age=5), "bank_max_age = 5", "no age; leave it out"),
    (lambda: Distillation(source="average", bank_dtype="float16"), "bank_dtype = ", "not the bank"),
    (lambda: Distillation(source="average", entropy_of="clients"), "entropy_of = 'clients'", "not the bank"),
    (lambda: Distillation(source="average", pool_weights="agreement"), "pool_weights = ", "agrees with itself"),
    (lambda: Distillation(warmup_rounds=5, corrupt_rounds=5), "corrupt_rounds = 5", "give more, or 0"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "field", "allowed"), UNREAD)
def test_what_is_switched_off_cannot_be_set(make: Callable[[], object], field: str, allowed: str) -> None:
    """It would give a run a hash of its own, and the numbers of another."""
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(field) and allowed in str(caught.value)


READ: list[Callable[[], object]] = [
    lambda: Partition(straggler_classes=2, straggler_share=0.5, straggler_mix="pure", max_redraws=5),
    lambda: Partition("natural", min_size=5, straggler_classes=1),
    lambda: Protocol(50, 25, 2, dispatch="on_arrival"),
    lambda: RunConfig(FedBuff(staleness_exponent=0.5), protocol=Protocol(50, 5, 5, dispatch="on_arrival")),
    lambda: RunConfig(FedEcho(distill=Distillation(warmup_rounds=299))),
    lambda: FedAsync(polynomial_a=1.0),
    lambda: FedAsync(staleness="hinge", hinge_a=1.0, hinge_b=2.0),
    lambda: FADAS(delay_adaptive=True, delay_threshold=3.0),
    lambda: FedAC(control_step="weighted"),
    lambda: Distillation(steps=0, lr=0.5, batch_size=8),
    lambda: Distillation(clip="value", kl="reverse", alpha_scope="sample", alpha_direction="falling"),
    lambda: Distillation(alpha_min=1, alpha_max=1, hard_label="majority", pool_weights="agreement"),
    lambda: Distillation(alpha_min=0, alpha_max=0, hard_label="majority", entropy_of="clients"),
    lambda: Distillation(teachers="slow", bank_decay=0.5, bank_max_age=5),
    lambda: Distillation(source="average", include_fresh=False, pool_weights="certainty", warmup_rounds=2),
    lambda: Distillation(warmup_rounds=5, corrupt_rounds=6),
]


def test_a_method_inside_another_may_be_named() -> None:
    assert override(RunConfig(FedEcho()), "method.inner", "fadas").method.inner == FADAS()  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", READ)
def test_what_is_read_can_be_set(make: Callable[[], object]) -> None:
    assert make()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_must_be_finite(number: float) -> None:
    with pytest.raises(InputError, match="finite"):
        Local(lr=number)


def test_whole_number_is_taken_for_a_float() -> None:
    assert Local(lr=1) == Local(lr=1.0)
    assert type(Local(lr=1).lr) is float
    assert config_hash(RunConfig(FedBuff(server_lr=2))) == config_hash(RunConfig(FedBuff(server_lr=2.0)))


@pytest.mark.parametrize(("name", "pool"), [("cifar10", "cifar100-20k"), ("cifar100", "cifar10"), ("sst2", "trec")])
def test_other_peoples_data_may_be_the_pool(name: str, pool: Any) -> None:
    assert Data(name, pool=pool).pool == pool


CONFIGS = [
    RunConfig(FedBuff()),
    RunConfig(FedBuff(ema=0.95), seed=3),
    RunConfig(FedEcho()),
    RunConfig(FedEcho(inner=CA2FL(server_lr=0.5), distill=Distillation(clip_norm=None, alpha_min=0.0))),
    RunConfig(FADAS(delay_adaptive=True), delays=Delays("pareto", shape=1.1)),
    RunConfig(FedBuff(), delays=Delays(speed_counts=(25, 16, 9)), partition=Partition(straggler_classes=2)),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_dict_round_trip(config: RunConfig) -> None:
    assert from_dict(RunConfig, to_dict(config)) == config


def test_every_config_has_its_own_hash() -> None:
    assert len({config_hash(config) for config in CONFIGS}) == len(CONFIGS)


def test_fields_at_their_default_do_not_enter_the_hash() -> None:
    assert to_dict(RunConfig(FedBuff(), local=Local(lr=0.1))) == {"method": {"method": "fedbuff"}}


def test_default_inner_method_is_distinguished_from_a_look_alike() -> None:
    assert to_dict(FedEcho(inner=FedAvg()))["inner"] == {"method": "fedavg"}


def test_override_sets_a_dotted_field() -> None:
    config = override(RunConfig(FedEcho()), "method.distill.clip_norm", None)
    assert isinstance(config.method, FedEcho) and config.method.distill.clip_norm is None


@pytest.mark.parametrize("path", ["method.distil.lr", "nonsense", "local.lr.deep", "method.distill.nu"])
def test_override_of_an_unknown_field_names_the_known_ones(path: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(path)} = 1.0 .*has the fields"):
        override(RunConfig(FedEcho()), path, 1.0)


def test_unknown_method_and_field_in_a_file() -> None:
    with pytest.raises(InputError, match="fedbuff"):
        from_dict(RunConfig, {"method": {"method": "fedmagic"}})
    with pytest.raises(InputError, match="server_lr"):
        from_dict(RunConfig, {"method": {"method": "fedbuff", "momentum": 0.9}})


def test_configs_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig(FedBuff()).seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rounds", "every", "after"), [(10, 5, [5, 10]), (11, 5, [5, 10, 11]), (3, 5, [3]), (5, 5, [5]), (1, 1, [1])]
)
def test_a_model_is_scored_every_so_many_rounds_and_at_the_end(rounds: int, every: int, after: list[int]) -> None:
    config = RunConfig(FedBuff(), protocol=Protocol(rounds=rounds), evaluation=Evaluation(every=every))
    assert (config.evaluations, list(config.evaluated_rounds())) == (len(after), after)
