"""Figures that explain the algorithm: who works when, how stale updates are, entropy to alpha, a bank row ageing."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.learning import distill
from fedecho.learning.echo_settings import Distillation
from fedecho.report.figures import COLUMN, LOOK, WIDTH, finished, style
from fedecho.report.summary import REFERENCE
from fedecho.simulation.schedule import SPEED_NAMES, Schedule

_SPEED_COLOURS = ("#009E73", "#E69F00", "#D55E00")


@style()
def schedule_gantt(plan: Schedule, rounds: int = 25, clients: Sequence[int] | None = None) -> Figure:
    """Draw who is at work when until round `rounds` closes: a line per client, by speed; colour = the version started
    from; a hairline where a round closes."""
    shown = plan.rounds[:rounds]
    horizon = shown[-1].closed_at
    everyone = range(len(plan.speed_class)) if clients is None else clients
    chosen = sorted(everyone, key=lambda client: (plan.speed_class[client], client))
    everything = [*(job for rnd in plan.rounds for job in rnd.arrivals), *plan.in_flight]
    jobs = [job for job in everything if job.dispatched_at < horizon and job.client in chosen]
    figure = Figure(figsize=(WIDTH, 1.2 + 0.07 * len(chosen)))
    axes = figure.subplots()
    colours = matplotlib.colormaps["viridis"]
    versions = [job.base_version for job in jobs]
    widths = [min(job.arrived_at, horizon) - job.dispatched_at for job in jobs]
    axes.barh([chosen.index(job.client) for job in jobs], widths, left=[job.dispatched_at for job in jobs], height=0.75,
              color=[colours(v / max(1, *versions, len(shown) - 1)) for v in versions])  # fmt: skip
    axes.vlines([rnd.closed_at for rnd in shown], -0.6, len(chosen) - 0.4, color="#404040", linewidth=0.3)
    axes.set(xlim=(0, horizon), ylim=(len(chosen) - 0.4, -0.6), xlabel="virtual time, s (hairlines: a round closes)")
    _label_speeds(axes, [plan.speed_class[client] for client in chosen])
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, max(1, len(shown) - 1)), colours)
    figure.colorbar(scale, ax=axes, label="version the job started from", pad=0.01, aspect=30)
    return finished(figure)


def _label_speeds(axes: Axes, classes: Sequence[int]) -> None:
    """Name each group of equal speed on the y axis and part the groups by a line."""
    groups = {speed: [y for y, c in enumerate(classes) if c == speed] for speed in sorted(set(classes))}
    axes.set_yticks(
        [float(np.mean(ys)) for ys in groups.values()],
        [f"{SPEED_NAMES[speed]}\n({len(ys)})" for speed, ys in groups.items()],
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    for ys in list(groups.values())[1:]:
        axes.axhline(ys[0] - 0.5, color="#404040", linewidth=0.6)


@style()
def staleness_histogram(plan: Schedule) -> Figure:
    """Draw how many arrivals have which staleness (rounds), by speed class, on log scales; the mean as a line."""
    jobs = [(plan.speed_class[job.client], rnd.index - job.base_version) for rnd in plan.rounds for job in rnd.arrivals]
    taus = np.array([tau for _, tau in jobs])
    edges = np.unique(np.ceil(np.geomspace(1, taus.max() + 2, 24))) - 0.5  # tau + 1 is drawn, so that 0 has a place
    figure = Figure(figsize=(COLUMN, 2.4))
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlabel="staleness, rounds", ylabel="arrivals")
    for speed, name in enumerate(SPEED_NAMES):
        own = [tau + 1 for c, tau in jobs if c == speed]
        if own:
            axes.hist(own, edges.tolist(), histtype="step", color=_SPEED_COLOURS[speed], linewidth=1.2,
                      linestyle=("-", "--", ":")[speed], label=f"{name} ({len(own)})")  # fmt: skip
    axes.axvline(taus.mean() + 1, color="black", linewidth=0.8, label=f"mean {taus.mean():.2f}")
    ticks = [tau for tau in (0, 1, 2, 4, 9, 19, 49, 99, 199, 499, 999) if tau <= taus.max() + 1]
    axes.set_xticks([tau + 1 for tau in ticks], list(map(str, ticks)))
    axes.tick_params(axis="x", which="minor", length=0)
    figure.legend(loc="outside upper center", ncols=4, handlelength=1.4, columnspacing=1.2)
    return finished(figure)


@style()
def alpha_curve(settings: Distillation) -> Figure:
    """Draw alpha against the normalised entropy of the teacher, both in [0, 1] (Eq. 3-4)."""
    entropy = torch.linspace(0, 1, 101)
    alpha = torch.stack([distill.mixing_weight(level, settings) for level in entropy])
    figure = Figure(figsize=(COLUMN, 2.2))
    axes = figure.subplots()
    axes.plot(entropy.numpy(), alpha.numpy(), color=LOOK[REFERENCE][0], linewidth=1.8)
    for level, name in {settings.alpha_min: "alpha_min", settings.alpha_max: "alpha_max"}.items():
        axes.axhline(level, color="#808080", linestyle=":", linewidth=0.8)
        axes.text(0.99, level + 0.01, f"{name} = {level:g}", ha="right", va="bottom", fontsize=6.5)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.08), xlabel="entropy of the teacher / log C", ylabel="alpha, weight of KL")
    return finished(figure)


@style()
def bank_ageing(frame: pd.DataFrame) -> Figure:
    """Draw one client's row in the bank from columns round, age (rounds) and agreement (share in [0, 1] of the pool on
    which the row's class is the averaged teacher's)."""
    figure = Figure(figsize=(COLUMN, 2.6))
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(frame["round"], frame["age"], color="#0072B2", drawstyle="steps-post")
    below.plot(frame["round"], 100 * frame["agreement"], color=LOOK[REFERENCE][0])
    above.set(ylabel="age, rounds")
    below.set(ylabel="agreement, %", xlabel="server round", ylim=(0, 102))
    return finished(figure)
