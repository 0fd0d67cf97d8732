"""The right-hand side of the bound with explicit constants, for one local step (K = 1).

Assume L-smooth F_i; noise of total variance sigma^2; clients drawn independently and uniformly, with (1/N) sum_i
|grad F_i - grad f|^2 <= sigma_g^2; staleness independent of both, at most tau_max and tau_avg on average; x_t = x_0
for t < 0. With G_t the mean of the M
gradients of a round, Gbar_t its expectation given all that came before, and V = (sigma^2 + sigma_g^2) / M >= Var G_t:

  f(x_{t+1}) <= f(x_t) - gamma <grad f(x_t), G_t> + L gamma^2 / 2 |G_t|^2               (smoothness)
  -2 <grad f, Gbar> = -|grad f|^2 - |Gbar|^2 + |grad f - Gbar|^2
  |grad f(x_t) - Gbar_t|^2 <= L^2 mean_j |x_t - x_{t - tau_j}|^2                         (smoothness)
  E|x_t - x_{t - tau}|^2 <= 2 gamma^2 tau sum_{k = t - tau}^{t - 1} E|Gbar_k|^2 + 2 gamma^2 tau V   (martingale)

Summed over t, and if L gamma + 2 (L gamma tau_max)^2 <= 1 so that no |Gbar|^2 is left over:

  (1/T) sum_t E|grad f(x_t)|^2 <= 2 F_0 / (gamma T) + L gamma V + 2 L^2 gamma^2 tau_avg V,   F_0 = f(x_0) - min f.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedecho.core.checks import require
from fedecho.theory.records import Row, TheoryRecord


@dataclass(frozen=True)
class Bound:
    """The three terms, each >= 0, and whether the step is small enough for them to hold."""

    transient: float
    """2 F_0 / (gamma T)"""
    noise: float
    """L gamma V"""
    delay: float
    """2 L^2 gamma^2 tau_avg V"""
    holds: bool
    """L gamma + 2 (L gamma tau_max)^2 <= 1."""

    @property
    def total(self) -> float:
        """Return the right-hand side."""
        return self.transient + self.noise + self.delay


def of(record: TheoryRecord, row: Row) -> Bound:
    """Return the bound at one T and M of a record; raises `InputError` for more than one local step, and unless the
    clients are quadratics of one curvature: then sigma_g^2 is the same everywhere."""
    run, facts = record.run(), record.facts
    same = run.objective == "quadratic" and run.curvature_spread == 0
    require(same, "objective", run.objective, "its sigma_g^2 has no bound; choose quadratics of one curvature")
    require(run.local_steps == 1, "local_steps", run.local_steps, "the bound is written for 1")
    step, v = facts["smoothness"] * row["gamma"], (run.variance + facts["client_spread"]) / row["buffer"]
    return Bound(
        transient=2 * facts["suboptimality"] / (row["gamma"] * row["rounds"]),
        noise=step * v,
        delay=2 * step**2 * row["tau_avg"] * v,
        holds=step + 2 * (step * row["tau_max"]) ** 2 <= 1,
    )
