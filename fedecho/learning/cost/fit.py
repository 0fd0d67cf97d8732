"""A model of the seconds that a server takes, fitted to measured ones: each phase is a sum of terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from fedecho.core.config import RunConfig
from fedecho.learning.cost import work
from fedecho.learning.cost.work import PHASES

Numbers = NDArray[np.float64]
Factors = Mapping[str, Numbers]
"""Phase -> seconds per unit of each of its terms."""


def terms(config: RunConfig, moved: float = 1.0) -> dict[str, list[float]]:
    """Return by phase what its seconds are a sum of: calls, units of work (`work.work`), parameters moved, and numbers
    that layers put out (`work.activations`).

    Of the P parameters the share `moved` is trained and sent.
    """
    units, arrivals, pool = work.work(config), config.protocol.buffer_size, config.data.pool_size
    sent, written = moved * work.model_size(config.model, config.data)[0], work.activations(config.model, config.data)
    aggregation = [1.0, moved * units["aggregation"]]
    if config.distill is None:
        return {"aggregation": aggregation}
    steps, images = config.distill.steps, work.distilled_images(config.distill, pool)
    return {
        "inference": [arrivals, units["inference"], arrivals * sent, arrivals * pool * written],
        "bank": [arrivals, units["bank"]],
        "aggregation": aggregation,
        "distillation": [steps, units["distillation"], steps * sent, images * written],
    }


def fit(configs: Sequence[RunConfig], seconds: Sequence[Mapping[str, float]]) -> Factors:
    """Return by phase the factors c >= 0 of its terms: the least sum of (c · terms / seconds - 1)^2 over all points."""
    out: dict[str, Numbers] = {}
    for phase in PHASES:
        rows = [np.array(terms(c)[phase]) / s[phase] for c, s in zip(configs, seconds, strict=True) if s[phase]]
        if rows:
            scale = np.max(rows, axis=0)  # terms differ by many orders of magnitude
            out[phase] = nnls(np.array(rows) / scale, np.ones(len(rows)))[0] / scale
    return out


def fitted(factors: Factors, config: RunConfig, moved: float = 1.0) -> dict[str, float]:
    """Return the seconds of a round by phase, as fitted."""
    return dict.fromkeys(PHASES, 0.0) | {p: float(factors[p] @ np.array(t)) for p, t in terms(config, moved).items()}
