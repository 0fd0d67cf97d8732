"""What the paper leaves open, point by point, and how else each can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedecho.core.checks import require_known
from fedecho.core.config import override_all
from fedecho.report.summary import REFERENCE
from fedecho.studies.contenders import TUNED
from fedecho.studies.controls import PROBABILITIES
from fedecho.studies.grid import HERE, OWN, Changes, Variant, run_at
from fedecho.studies.profiles import profile as scale_of

ETA_D = "method.distill.lr"
TEMPERATURES = (0.5, 2.0, 3.0)
OWN_RATES: dict[str, float] = {
    "clip by value": 0.0225, "Adam": 0.000093, "probabilities averaged": 0.0225, "temperature 0.5": 0.0225,
    "temperature 2": 0.0225, "temperature 3": 0.0225, "reverse KL": 0.0225,
}  # fmt: skip
"""Reading that shifts the scale of the gradient -> eta_d as tuned for it again (`readings_tuning`)."""


@dataclass(frozen=True)
class Reading:
    """An alternative to one choice that the paper leaves open."""

    point: str
    """The open point that it belongs to."""
    label: str
    changes: Changes
    scales: bool = False
    """Whether it shifts the scale of the gradient, so that eta_d is tuned again."""
    shared: bool = False
    """Whether it is about the protocol, so that the rivals are run under it too."""
    normed: bool = False
    """Whether it is about BatchNorm, so that the model must have it."""

    def rows(self, eta_d: float) -> list[Variant]:
        """Return its row at FedEcho's `eta_d`, and the one at its own, once that is tuned and where it is another."""
        own = OWN_RATES.get(self.label, eta_d) if self.scales else eta_d
        again = Variant(f"{self.label}, own eta_d", {**self.changes, ETA_D: own})
        return [Variant(self.label, self.changes), *([] if own == eta_d else [again])]

    def rival(self, label: str) -> str:
        """Return the row of a rival that it is held against: one under the same protocol."""
        return f"{label}{self.label.removeprefix(REFERENCE)}" if self.shared else label


def readings_of(profile: str, temperatures: Sequence[float] = TEMPERATURES) -> list[Reading]:
    """Return every reading that differs from the reference at a profile, in the order of the open points."""
    config, rounds = run_at(profile, OWN, HERE, 0), scale_of(profile).protocol.rounds
    found = [*_losses(config.distill, temperatures), *_banks(rounds), *_protocols(profile)]
    if has_norm(profile):
        found.append(Reading("A20 mode", "GroupNorm", {"model": f"{config.model}-groupnorm"}))
    return [reading for reading in found if override_all(config, reading.changes) != config]


def _losses(own: Any, temperatures: Sequence[float]) -> list[Reading]:
    """Return readings of the steps and of their loss; `own`: the settings that they depart from."""
    return [
        _echo("A1 clipping", "clip by value", clip="value", scales=True),
        _echo("A2 nu", "no clipping", clip_norm=None),
        *(_echo("A3 Q", f"Q = {q}", steps=q) for q in (1, 5, 20, 50)),
        _echo("A4 eta_d", "eta_d / 3", lr=round(own.lr / 3, 6)),
        _echo("A4 eta_d", "3 eta_d", lr=round(3 * own.lr, 6)),
        _echo("A5 optimiser", "Adam", optimizer="adam", scales=True),
        _echo("A6 batch", "half the batch", batch_size=own.batch_size // 2),
        _echo("A6 batch", "twice the batch", batch_size=2 * own.batch_size),
        Reading("A7 average", PROBABILITIES.label, PROBABILITIES.changes, scales=True),
        _echo("A8 entropy", "clients' entropy", entropy_of="clients"),
        _echo("A9 alpha", "one alpha an image", alpha_scope="sample"),
        _echo("A10 direction", "alpha falls with entropy", alpha_direction="falling"),
        *(_echo("A11 range", f"alpha in ({low:g}, {high:g})", alpha_min=low, alpha_max=high)
          for low, high in ((0.0, 1.0), (0.3, 0.7), (0.5, 1.0))),
        _echo("A12 labels", "majority labels", hard_label="majority"),
        *(_echo("A13 temperature", f"temperature {t:g}", temperature=t, scales=True) for t in temperatures),
        _echo("A14 KL", "reverse KL", kl="reverse", scales=True),
    ]  # fmt: skip


def _banks(rounds: int) -> list[Reading]:
    """Return readings of whose rows teach, and from when; `rounds`: T."""
    sixth, tenth = rounds // 6, rounds // 10
    return [
        _echo("A15 clients", "idle clients only", teachers="idle"),
        _echo("A15 clients", "this round's M clients only", teachers="fresh"),
        _echo("A16 old rows", "rows decay, 0.99 per round", bank_decay=0.99),
        _echo("A16 old rows", f"rows expire after {sixth} rounds", bank_max_age=sixth),
        _echo("A17 fresh rows", "fresh rows count later", include_fresh=False),
        Reading("A18 deltas", "stale deltas count less", {"method.inner.staleness_exponent": 0.5}),
        _echo("A19 statistics", "statistics as sent", client_buffers="server", normed=True),
        _echo("A20 mode", "BatchNorm in train mode", batchnorm="train", normed=True),
        _echo("A23 model sent", "averaged model sent", broadcast="averaged"),
        Reading("A25 model scored", "EMA on top", {"method.ema": 0.95}),
        _echo("A26 bank", "3 largest logits kept", bank_top_k=3),
        _echo("A27 cold start", f"warm-up of {tenth} rounds", warmup_rounds=tenth),
    ]


def _protocols(profile: str) -> list[Reading]:
    """Return readings of the rates of FedBuff's part and of the protocol."""
    buff, tuned = (TUNED.get(profile, {}).get(label, {}) for label in ("FedBuff", "FedBuff (tuned eta)"))
    inner = {path.replace("method.", "method.inner."): value for path, value in tuned.items()}
    return [
        Reading("A24 eta, eta_l", "eta_l of FedBuff", buff),
        Reading("A24 eta, eta_l", "eta and eta_l of FedBuff (tuned eta)", inner),
        Reading("A28 failures", "failed uploads taken", {"protocol.reject_failed": False}),
        Reading("deltas", f"{REFERENCE}, official loop's deltas", {"protocol.delta": "fadas_code"}, shared=True),
        Reading("dispatch", f"{REFERENCE}, clients start on arrival", {"protocol.dispatch": "on_arrival"}, shared=True),
    ]


def _echo(point: str, label: str, *, scales: bool = False, normed: bool = False, **fields: Any) -> Reading:
    changes = {f"method.distill.{name}": value for name, value in fields.items()}
    return Reading(point, label, changes, scales, normed=normed)


def has_norm(profile: str) -> bool:
    """Tell whether the profile's own model has BatchNorm."""
    return scale_of(profile).model.startswith("resnet18")


def chosen(profile: str, names: Sequence[str] | None, temperatures: Sequence[float]) -> list[Reading]:
    """Return the readings called `names`, or all; raises `InputError` naming the known ones."""
    known = {reading.label: reading for reading in readings_of(profile, temperatures)}
    require_known("names", names or (), known)
    return [reading for label, reading in known.items() if not names or label in names]
