"""What each study of the theory notebooks plays, by profile: rates, controls, terms, arrivals, methods, teachers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from fedecho.core.checks import require
from fedecho.core.config import MethodConfig
from fedecho.core.settings import Delays
from fedecho.learning.distill import Distillation
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedBuff, FedEcho
from fedecho.studies import profiles
from fedecho.studies.theory.terms import ASSUMED, terms
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import Entry, TheoryRun


@dataclass(frozen=True)
class Scale:
    """The grids of a profile."""

    rounds: tuple[int, ...]
    buffers: tuple[int, ...]
    few_rounds: tuple[int, ...]
    few_buffers: tuple[int, ...]
    """Of what costs more."""
    control_rounds: tuple[int, ...]
    control_buffers: tuple[int, ...]
    echo_buffers: tuple[int, ...]
    """Of what costs most: FedEcho, FedAC, FedAsync (M times as many steps), images, four steps of the network."""
    floor_buffers: tuple[int, ...]
    floor_rounds: int
    term_rounds: int
    walks: int
    biased_walks: int
    """Where a plateau is predicted for each walk."""
    lone_walks: int
    """Of methods that are played walk by walk."""


_T, _M = (250, 500, 1000, 2000, 4000, 8000), (1, 2, 4, 8, 16)
SCALES = {
    "smoke": Scale(
        (100, 200, 400), (1, 2, 4), few_rounds=(50, 100), few_buffers=(1, 2), control_rounds=(100, 200, 400),
        control_buffers=(1, 2, 4), echo_buffers=(1, 2), floor_buffers=(1, 4, 16), floor_rounds=300, term_rounds=200,
        walks=24, biased_walks=4, lone_walks=2,
    ),
    "laptop": Scale(
        _T, _M, few_rounds=_T[:4], few_buffers=(1, 4, 16), control_rounds=_T[:4], control_buffers=(1, 4, 16),
        echo_buffers=(1, 4), floor_buffers=_M, floor_rounds=2000, term_rounds=3000, walks=24,
        biased_walks=24, lone_walks=4,
    ),
    "paper": Scale(
        (*_T, 16000), _M, few_rounds=_T[:5], few_buffers=(1, 4, 16), control_rounds=_T[:5], control_buffers=_M,
        echo_buffers=(1, 4, 16), floor_buffers=(*_M, 32), floor_rounds=4000, term_rounds=8000, walks=64,
        biased_walks=64, lone_walks=24,
    ),
}  # fmt: skip
CONSTANTS: dict[str, dict[str, Any]] = {
    "quadratic": {"scale": 0.4, "variance": 4.0},
    "logistic": {"scale": 0.5, "variance": 4.0},
    "images": {"scale": 0.5, "variance": 4.0},
    "bounded": {"scale": 0.2, "variance": 16.0},
    "network": {"scale": 0.5, "variance": 4.0},
}
"""c and sigma^2: chosen so that transient and noise are of like size and nearly every step is below the limit of
stability; with a larger c the smallest T with the largest M are unstable, and the rule fails."""
_FLOOR = {"quadratic": 0.05, "logistic": 0.05, "bounded": 0.02, "network": 0.03}
DISTIL = Distillation(steps=1, lr=0.04, batch_size=32, clip_norm=0.25)
"""One step a round over the whole pool; nu = 1/4 is shorter than the gradients of a teacher that lies."""
POWERS = {"constant": 0.0, "T^-1/2": 0.5, "T^-3/4": 0.75, "T^-1": 1.0}
SOFT = replace(DISTIL, alpha_min=1.0, alpha_max=1.0)
"""Soft labels alone: hard ones pull towards being sure, wherever the optimum is."""
_SOFT = FedEcho(distill=SOFT)
DERIVED = "M^1/4 T^-3/4"
"""What the derived condition asks of eta_d with Q, nu and K fixed: the rate survives any teacher."""
TEACHERS: dict[str, tuple[Literal["clients", "adversarial", "random"], Distillation]] = {
    "adversarial": ("adversarial", DISTIL), "random": ("random", DISTIL), "honest": ("clients", DISTIL),
    "honest, soft labels": ("clients", SOFT),
}  # fmt: skip
METHODS: dict[str, MethodConfig] = {
    "FedBuff": FedBuff(), "CA2FL": CA2FL(), "FADAS": FADAS(), "FedAC-public": FedAC(),
    "FedAsync": FedAsync(staleness="constant", proximal=0.0), "FedEcho": FedEcho(distill=DISTIL),
}  # fmt: skip
_COUNTS, _ALIKE = (25, 16, 9), (50, 0, 0)
KINDS: dict[str, Arrivals] = {
    name: Arrivals(clients=50, per_buffer=5, delays=delays)
    for name, delays in {
        "uniform": Delays("uniform"),
        "skewed, mild": Delays("mild", speed_counts=_COUNTS),
        "skewed, large": Delays("large", speed_counts=_COUNTS),
        "bursty": Delays("bursty", speed_counts=_ALIKE),
        "Pareto 2.5": Delays("pareto", shape=2.5, speed_counts=_ALIKE),
        "Pareto 1.5": Delays("pareto", shape=1.5, speed_counts=_ALIKE),
        "Pareto 1.1": Delays("pareto", shape=1.1, speed_counts=_ALIKE),
        "periodic": Delays("periodic"),
    }.items()
}
"""50 clients of which 25 are at work, M = 5; only in the skewed ones some clients are slower than others."""
NOTHING_TO_REPAIR = ("bursty", "Pareto 2.5", "periodic")
"""Kinds whose plateau lies far below what noise leaves: FedEcho, which costs most, is not played there."""
KINDS["adversarial, one end"] = replace(KINDS["skewed, large"], dealt="slow high")
KINDS["adversarial, other end"] = replace(KINDS["skewed, large"], dealt="slow low")
LONG: dict[str, Any] = {"local_steps": 10, "local_lr": 0.4}
"""Long local training: a client's model moves as far in a round however small gamma is (eta shrinks in its place)."""
KINDS_LONG = ("uniform", "adversarial, one end", "adversarial, other end")
BIASED = "adversarial, one end"
"""The kind of arrivals at which all methods are compared."""
_BUFFER = 5
STUDIES = ("convex", "bound", "nonconvex", "arrivals", "methods", "distillation")


def scale(profile: str) -> Scale:
    """Return the grids of a profile; raises `InputError` for an unknown one."""
    return SCALES[profiles.profile(profile).name]


def entries(study: str, profile: str) -> list[Entry]:
    """Return the runs of a study; raises `InputError` naming the known studies."""
    require(study in STUDIES, "study", study, f"choose one of {', '.join(STUDIES)}")
    grids = scale(profile)
    match study:
        case "convex":
            return _rates(("quadratic", "logistic"), grids) + [_images(grids)] + _controls("quadratic", grids)
        case "nonconvex":
            return _rates(("bounded", "network"), grids) + _controls("bounded", grids)
        case "bound":
            return terms(grids.term_rounds, grids.walks)
        case "arrivals":
            return _arrivals(grids)
        case "methods":
            return _methods(grids)
    return _teachers(grids)


def base(objective: str, grids: Scale) -> TheoryRun:
    """Return an objective's run over the whole grid."""
    run = TheoryRun(objective=objective, rounds=grids.rounds, buffers=grids.buffers, walks=grids.walks)  # type: ignore[arg-type]
    return replace(run, **CONSTANTS[objective])


def few(run: TheoryRun, grids: Scale) -> TheoryRun:
    """Return `run` over the smaller grid."""
    return replace(run, rounds=grids.few_rounds, buffers=grids.few_buffers)


def _rates(objectives: tuple[str, ...], grids: Scale) -> list[Entry]:
    out = []
    for name in objectives:
        run, costly = base(name, grids), name in ("logistic", "network")
        whole = replace(run, buffers=grids.few_buffers) if name == "network" else run
        out.append(Entry("rate", f"{name}, K = 1", whole, True))
        many = few(replace(run, local_steps=4), grids)
        many = replace(many, buffers=grids.echo_buffers) if name == "network" else many
        out.append(Entry("rate", f"{name}, K = 4", many, True))
        if name in ("quadratic", "logistic"):
            assumed = few(replace(run, arrivals=ASSUMED), grids)
            out.append(Entry("rate", f"{name}, independent arrivals", assumed, True))
        out.append(_floor(name, grids))
        if costly:
            out += _fedecho(name, grids)
    return out


def _images(grids: Scale) -> Entry:
    run = replace(base("images", grids), rounds=grids.few_rounds[-3:], buffers=grids.echo_buffers)
    return Entry("rate", "images, K = 1", run, True)


def _floor(name: str, grids: Scale, expected: bool = True, **changes: Any) -> Entry:
    run = replace(
        base(name, grids), start="stationary", step="constant", scale=_FLOOR[name], rounds=(grids.floor_rounds,),
        buffers=grids.floor_buffers, arrivals=ASSUMED, **changes,
    )  # fmt: skip
    return Entry("speed-up", name + (", no noise, equal clients" if changes else ""), run, expected)


def _fedecho(name: str, grids: Scale) -> list[Entry]:
    run = few(replace(base(name, grids), arrivals=ASSUMED, method=METHODS["FedEcho"]), grids)
    run = replace(run, buffers=grids.echo_buffers)
    falling = replace(run, distil_power=POWERS["T^-3/4"])
    derived = replace(falling, distil_buffer_power=0.25)
    out = [
        Entry("FedEcho", f"{name}, eta_d constant", run),
        Entry("FedEcho", f"{name}, eta_d T^-3/4", falling),
        Entry("FedEcho", f"{name}, eta_d {DERIVED}", derived, True),
    ]
    if name == "logistic":
        worst = replace(derived, teacher="adversarial")
        out.append(Entry("FedEcho", f"{name}, adversarial, eta_d {DERIVED}", worst, True))
    return out


def _controls(name: str, grids: Scale) -> list[Entry]:
    run = replace(base(name, grids), rounds=grids.control_rounds, buffers=grids.control_buffers)
    biased = replace(ASSUMED, bias=9.0, dealt="slow high")
    return [
        Entry("control", "no M in the step", replace(run, step="without M"), False),
        Entry("control", "biased arrivals", replace(run, arrivals=biased), False),
        Entry("control", "tau up to 200", replace(run, arrivals=replace(ASSUMED, tau_max=200)), False),
        Entry("control", "constant step", replace(run, step="constant", scale=_FLOOR[name]), False),
        Entry("control", "no noise, equal clients", replace(run, variance=0.0, heterogeneity=0.0), True),
        _floor(name, grids, False, variance=0.0, heterogeneity=0.0),
    ]


# Arrivals, methods, teachers


def _arrivals(grids: Scale) -> list[Entry]:
    out = []
    for kind, law in KINDS.items():
        runs = {label: biased_run(label, law, grids) for label in ("FedBuff", "CA2FL", "FedEcho")}
        if kind in KINDS_LONG:
            soft = {} if kind == "uniform" else {"FedEcho, soft labels": replace(runs["FedEcho"], method=_SOFT)}
            runs |= {f"{label}, long": replace(run, **LONG) for label, run in (runs | soft).items()}
        if kind in NOTHING_TO_REPAIR:
            del runs["FedEcho"]
        out += [Entry("arrivals", kind, run, series=label) for label, run in runs.items()]
    return out


def biased_run(label: str, law: Arrivals, grids: Scale) -> TheoryRun:
    """Return logistic regression of clients who disagree about labels, under a law of arrivals, M = 5."""
    method = METHODS[label]
    run = replace(base("logistic", grids), disagreement=1.0, variance=0.25, method=method, arrivals=law)
    walks = grids.lone_walks if isinstance(method, FedAC) else grids.biased_walks
    power = POWERS["T^-3/4"] if label == "FedEcho" else 0.0
    return replace(run, rounds=grids.few_rounds[-3:], buffers=(_BUFFER,), distil_power=power, walks=walks)


def _methods(grids: Scale) -> list[Entry]:
    out = []
    for label, method in METHODS.items():
        power = POWERS["T^-3/4"] if label == "FedEcho" else 0.0
        run = few(replace(base("logistic", grids), arrivals=ASSUMED, method=method, distil_power=power), grids)
        run = replace(run, walks=grids.lone_walks) if isinstance(method, FedAC) else run
        run = replace(run, buffers=grids.echo_buffers) if label in ("FedEcho", "FedAC-public", "FedAsync") else run
        out.append(Entry("method", label, run, series="rate"))
        out.append(Entry("method", label, biased_run(label, KINDS[BIASED], grids), series="biased"))
    return out


def _teachers(grids: Scale) -> list[Entry]:
    run = replace(base("logistic", grids), arrivals=ASSUMED, rounds=grids.few_rounds, buffers=(4,))
    out = [Entry("teacher", "none (FedBuff)", run, series="none")]
    for label, (teacher, how) in TEACHERS.items():
        for series, power in POWERS.items():
            if how == SOFT and power:
                continue
            taught = replace(run, method=FedEcho(distill=how), teacher=teacher, distil_power=power)
            out.append(Entry("teacher", label, taught, series=series))
    return out
