"""The runs behind every ablation, control and unlabelled pool: one function per notebook, profile -> cells.

A study varies fields of a contender, at the values tuned for it, in one or more places (setting and delay). Nothing is
tuned again for a variant. Runs that two studies share have one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedecho.core.config import override_all
from fedecho.presets import CONTENDERS, REFERENCE, Cell, base, placed, profile, tuned

Changes = Mapping[str, Any]
"""Dotted field of `RunConfig` -> value."""
CORE = ("FedBuff", "FedBuff + EMA", "CA2FL", "FADAS", REFERENCE)
DIR = "Dir(0.1)"
MIXED, PURE = (f"Dir(0.1), stragglers own 2 classes, {mix}" for mix in ("mixed", "pure"))
FEW = 3
"""Seeds of landscapes; claims and controls have all seeds of the profile."""


@dataclass(frozen=True)
class Place:
    """A setting and a kind of delay, as the table calls them, and how to get there from one of the main table's."""

    setting: str = DIR
    delay: str = "large"
    changes: Changes = field(default_factory=dict)
    near: tuple[str, str] | None = None
    """Setting and delay of the main table; none = the same names."""


@dataclass(frozen=True)
class Variant:
    """A row of a study: a contender with some fields changed."""

    label: str
    changes: Changes = field(default_factory=dict)
    contender: str = REFERENCE


def grid(name: str, variants: Iterable[Variant], places: Sequence[Place], seeds: int | None = None) -> list[Cell]:
    """Return every variant in every place on the first `seeds` seeds of the profile (none = all)."""
    variants = list(variants)
    return [
        Cell(variant.label, place.setting, place.delay, run_at(name, variant, place, seed))
        for seed in profile(name).seeds[:seeds]
        for place in places
        for variant in variants
    ]


def run_at(name: str, variant: Variant, place: Place, seed: int) -> Any:
    """Return one run: the contender as tuned, in its place, with the changes of both."""
    contender = CONTENDERS[variant.contender]
    config = tuned(base(name, contender, seed), contender.label, name)
    config = placed(config, profile(name), *(place.near or (place.setting, place.delay)))
    return override_all(config, {**place.changes, **variant.changes})


def plain(labels: Iterable[str]) -> list[Variant]:
    """Return contenders as they stand in the main table."""
    return [Variant(label, {}, label) for label in labels]


def echo(label: str, **fields: Any) -> Variant:
    """Return FedEcho with fields of its distillation changed."""
    return Variant(label, {f"method.distill.{name}": value for name, value in fields.items()})


HERE, PURE_LARGE = Place(), Place(PURE)
OWN = Variant(REFERENCE)

POOLS = ("digits", "diffusion", "dead-leaves", "noise")
REMEDIES: dict[str, Changes] = {
    "certain images": {"method.distill.pool_weights": "certainty"},
    "agreed images": {"method.distill.pool_weights": "agreement"},
    "mixed in pairs": {"data.pool_mix": 0.3},
}
"""Three ways to make more of a synthetic pool that need no real image (open question 2 of the paper)."""
REMEDIED = ("diffusion", "dead-leaves")


def unlabeled(name: str) -> list[Cell]:
    """Return 12_table_unlabeled: FedEcho by the source of U at equal |U|, beside methods without U."""
    pools = [Variant(label, {"data.pool": label}) for label in _pools(name)]
    remedies = [
        Variant(f"{pool}, {label}", {"data.pool": pool, **changes})
        for pool in REMEDIED
        for label, changes in REMEDIES.items()
        if pool in _pools(name)
    ]
    rivals = plain(("FedBuff", "FedBuff + EMA"))
    held_out = Variant("held-out")
    return [
        *grid(name, [held_out, *pools, *remedies, *rivals], [HERE]),
        *grid(name, [held_out, *pools, *rivals], [PURE_LARGE], FEW),
    ]


def _pools(name: str) -> Sequence[str]:
    return ("stl10", "tiny-imagenet-32", "generated", "dead-leaves", "noise") if name == "paper" else POOLS


def _alpha(low: float, high: float) -> Variant:
    label = f"fixed {low:g}" if low == high else f"dynamic ({low:g}, {high:g})"
    return echo(label, alpha_min=low, alpha_max=high)


DYNAMIC = "dynamic (0.2, 0.8)"
ALPHA_LEVELS = (0.0, 0.5, 1.0)


def alpha(name: str) -> list[Cell]:
    """Return 20_ablation_alpha: fixed and dynamic mixing weights, and what else alpha could follow."""
    claims = [_alpha(level, level) for level in (0.0, 0.5, 1.0)] + [_alpha(0.0, 1.0)]
    claims += [echo("reversed (0.2, 0.8)", alpha_direction="falling")]
    others = [_alpha(0.25, 0.25), _alpha(0.75, 0.75), _alpha(0.3, 0.7), _alpha(0.5, 1.0)]
    others += [echo("per image (0.2, 0.8)", alpha_scope="sample"), echo("clients' entropy", entropy_of="clients")]
    return grid(name, [Variant(DYNAMIC), *claims], [HERE]) + grid(name, others, [HERE], FEW)


def alpha_landscape(name: str) -> list[Cell]:
    """Return the landscape over (alpha_min, alpha_max), the setting of each run being its pair."""
    pairs = [(low, high) for low in ALPHA_LEVELS for high in ALPHA_LEVELS if low <= high]
    return grid(name, [_alpha(low, high) for low, high in pairs], [HERE], FEW)


DEFAULT_NU = 5.0
BAD_TEACHER = "Dir(0.1), teacher wrong for the first tenth"


def nu(name: str) -> list[Cell]:
    """Return 21_ablation_nu: clipping thresholds, and the same under a teacher that is wrong at first."""
    levels = [_nu(level) for level in (0.1, 0.5, 1.0, 2.0, 10.0)]
    rounds = max(1, profile(name).protocol.rounds // 10)
    bad = Place(BAD_TEACHER, "large", {"method.distill.corrupt_rounds": rounds}, (DIR, "large"))
    stressed = [_nu(level) for level in (0.1, 1.0, DEFAULT_NU, None)]
    return [
        *grid(name, [_nu(DEFAULT_NU), _nu(None)], [HERE]),
        *grid(name, levels, [HERE], FEW),
        *grid(name, stressed, [bad], FEW),
    ]


def _nu(level: float | None) -> Variant:
    return echo("no clipping" if level is None else f"nu = {level:g}", clip_norm=level, norm_quantiles=True)


POOL_SIZES = {"smoke": (50, 100, 200), "laptop": (100, 250, 500, 1000, 2500, 5000)}


def data_size(name: str) -> list[Cell]:
    """Return 22_ablation_data_size: FedEcho by |U|, beside methods without U."""
    sizes = POOL_SIZES.get(name, (100, 500, 1000, 2500, 5000, 10000))
    variants = [Variant(f"|U| = {size}", {"data.pool_size": size}) for size in sizes]
    return grid(name, [*variants, *plain(("FedBuff", "FedBuff + EMA"))], [HERE], FEW)


SHAPES = ("uniform", "exponential", "lognormal", "pareto", "bursty")
NO_DELAY = "none (M_c = M)"


def delay(name: str) -> list[Cell]:
    """Return 23_ablation_delay: five methods under eight kinds of delay."""
    buffer = profile(name).protocol.buffer_size
    none = Place(DIR, NO_DELAY, {"protocol.concurrency": buffer}, (DIR, "mild"))
    shaped = [Place(DIR, shape, {"delays.model": shape}, (DIR, "large")) for shape in SHAPES]
    methods = plain(CORE)
    return grid(name, methods, [none], FEW) + [
        *grid(name, methods, [Place(DIR, "mild"), HERE]),
        *grid(name, methods, shaped, FEW),
    ]


BUFFERS = {"smoke": (1, 2, 5), "laptop": (1, 2, 5, 10, 25), "paper": (1, 2, 5, 10, 25)}


def heterogeneity(name: str) -> list[Cell]:
    """Return 24_heterogeneity_buffer: Dir(0.03) and Dir(0.1) by the buffer size M, at equally many client updates."""
    methods = plain(("FedBuff", "FedBuff + EMA", REFERENCE))
    places = [
        Place(f"Dir({level:g})", f"M = {size}", _buffer(name, size) | _dirichlet(name, level), (DIR, "large"))
        for level in (0.03, 0.1)
        for size in BUFFERS[name]
    ]
    return grid(name, methods, places, FEW)


def _buffer(name: str, size: int) -> dict[str, Any]:
    """Return the changes that give a buffer of `size` the same work, and the same work between evaluations."""
    protocol = profile(name).protocol
    if size == protocol.buffer_size:
        return {}
    arrivals = protocol.buffer_size * protocol.rounds
    every = base(name, CONTENDERS[REFERENCE], 0).evaluation.every * protocol.buffer_size
    return {
        "protocol.buffer_size": size,
        "protocol.rounds": arrivals // size,
        "evaluation.every": max(1, every // size),
    }


def _dirichlet(name: str, level: float) -> dict[str, Any]:
    """Return the changes to Dir(`level`): below 0.1 hardly any draw gives every client the usual number of images."""
    return {} if level == 0.1 else {"partition.alpha": level, "partition.min_size": 1}


BANKS: dict[str, Changes] = {
    "float32": {},
    "float16": {"bank_dtype": "float16"},
    "top-3": {"bank_top_k": 3},
    "top-1": {"bank_top_k": 1},
}


def bank_cells(name: str) -> list[Cell]:
    """Return the runs of 25_server_cost: FedEcho by the form in which the bank keeps its rows."""
    return grid(name, [echo(label, **fields) for label, fields in BANKS.items()], [HERE], FEW)


WITHOUT_SLOW = echo("slow clients' rows left out", teachers="fast")
PROBABILITIES = echo("probabilities averaged", average="probabilities")
CONTROLS = (
    echo("no distillation (Q = 0)", steps=0),
    WITHOUT_SLOW,
    echo("only slow clients' rows", teachers="slow"),
    echo("this round's M clients only", teachers="fresh"),
    echo("rows decay, 0.99 per round", bank_decay=0.99),
    echo("teacher: averaged model", source="average"),
    PROBABILITIES,
)


def controls(name: str) -> list[Cell]:
    """Return the first part of 26_controls: what FedEcho's gain is made of, in three settings."""
    rivals = plain(("FedBuff", "FedBuff + EMA", "FedBuff (tuned eta)"))
    everything = grid(name, [OWN, *rivals, *CONTROLS], [HERE, PURE_LARGE])
    mixed = [OWN, *rivals, WITHOUT_SLOW, CONTROLS[2], PROBABILITIES]
    return everything + grid(name, mixed, [Place(MIXED)], FEW)


def owners(name: str) -> list[Cell]:
    """Return the second part: stragglers alone hold k classes; all methods, and the bank without their rows."""
    places = [
        Place(f"stragglers own {k} class{'es' * (k > 1)}, pure", "large", _owned(k), (PURE, "large")) for k in (1, 2, 4)
    ]
    return grid(name, [*plain(CONTENDERS), WITHOUT_SLOW, PROBABILITIES], places, FEW)


def _owned(k: int) -> dict[str, Any]:
    return {} if k == 2 else {"partition.straggler_classes": k}


SHARES = (0.0, 0.5, 1.0)
TAILS = ("mild", "pareto", "large")


def correlation(name: str) -> list[Cell]:
    """Return the third part, a map: the share of two classes that slow clients own x the tail of the delays."""
    places = [
        Place(
            f"correlation {share:g}", tail, _shared(share) | _tail(tail), (PURE, "large" if tail == "pareto" else tail)
        )
        for share in SHARES
        for tail in TAILS
    ]
    return grid(name, plain(("FedBuff + EMA", REFERENCE)), places, FEW)


def _shared(share: float) -> dict[str, Any]:
    """Return the changes to a share: at 0 the two classes are dealt like the others, and slow clients take part."""
    if share == 0:
        return {"partition.straggler_classes": 0, "partition.straggler_mix": "mixed"}
    return {} if share == 1 else {"partition.straggler_share": share}


def _tail(tail: str) -> dict[str, Any]:
    return {"delays.model": tail} if tail == "pareto" else {}


STEPS = {"smoke": (1, 3), "laptop": (1, 10, 20), "paper": (1, 5, 20, 50)}


def sensitivity(name: str) -> list[Cell]:
    """Return 27_sensitivity: Q x eta_d."""
    tuned_lr = run_at(name, OWN, HERE, 0).method.distill.lr
    return grid(
        name,
        [
            echo(f"Q = {steps}, eta_d = {lr:g}", steps=steps, lr=lr)
            for steps in STEPS[name]
            for lr in (round(tuned_lr / 3, 6), tuned_lr, round(3 * tuned_lr, 6))
        ],
        [HERE],
        FEW,
    )


def readings(name: str) -> list[Cell]:
    """Return the second part of 27_sensitivity: other readings of the method and of the protocol."""
    code = {"protocol.delta": "fadas_code"}
    variants = [OWN, PROBABILITIES, *(echo(f"temperature {t:g}", temperature=t) for t in (0.5, 2.0))]
    variants += [Variant(f"{label}, official loop's deltas", code, label) for label in ("FedBuff", "FADAS", REFERENCE)]
    if name == "paper":
        variants += [
            echo("BatchNorm in train mode", batchnorm="train"),
            Variant("GroupNorm", {"model": "resnet18-groupnorm"}),
        ]
    return grid(name, [*variants, *plain(("FedBuff", "FADAS"))], [HERE], FEW)
