r"""The right-hand side of the bound with explicit constants, for one local step (K = 1).

Assume L-smooth :math:`F_i`; noise of total variance :math:`\sigma^2`; clients drawn independently and uniformly, with
:math:`\frac1N \sum_i \|\nabla F_i - \nabla f\|^2 \le \sigma_g^2`; staleness independent of both, at most
:math:`\tau_{\max}` and :math:`\tau_{avg}` on average; :math:`x_t = x_0` for :math:`t < 0`. With :math:`G_t` the mean
of the M gradients of a round, :math:`\bar G_t` its expectation given all that came before, and
:math:`V = (\sigma^2 + \sigma_g^2) / M \ge \operatorname{Var} G_t`, by smoothness, an identity, smoothness again and a
martingale:

.. math::

   f(x_{t+1}) &\le f(x_t) - \gamma \langle \nabla f(x_t), G_t \rangle + \tfrac{L \gamma^2}2 \|G_t\|^2 \\
   -2 \langle \nabla f, \bar G \rangle &= -\|\nabla f\|^2 - \|\bar G\|^2 + \|\nabla f - \bar G\|^2 \\
   \|\nabla f(x_t) - \bar G_t\|^2 &\le L^2 \operatorname{mean}_j \|x_t - x_{t - \tau_j}\|^2 \\
   E\|x_t - x_{t - \tau}\|^2 &\le 2 \gamma^2 \tau \sum_{k = t - \tau}^{t - 1} E\|\bar G_k\|^2 + 2 \gamma^2 \tau V

Summed over t, and if :math:`L \gamma + 2 (L \gamma \tau_{\max})^2 \le 1` so that no :math:`\|\bar G\|^2` is left over:

.. math::

   \frac1T \sum_t E\|\nabla f(x_t)\|^2 \le \frac{2 F_0}{\gamma T} + L \gamma V + 2 L^2 \gamma^2 \tau_{avg} V,
   \qquad F_0 = f(x_0) - \min f.
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
