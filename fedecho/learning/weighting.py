r"""Weights for the bank's average: a row is weighted by what it, or its client, reveals about the client's data.

The equal mean of FedEcho lets the many who never saw a class outvote the few who did. With y_i(u) `[classes]` the row
of client i for a prediction u (an image, a position of a text), softmax_c its c-th probability, and all means over i
weighted by the rows' own weights a_i (age, who may teach) where there are any:

* **prior correction** (lambda): ybar(u)_c = mean_i [y_i(u)_c - lambda log max(m_i(c), 1e-4)], with
  m_i(c) = mean_u softmax_c(y_i(u)), the class prior that i's model has learnt as the pool sees it. Logit adjustment
  (Menon et al., ICLR 2021, arXiv 2007.07314) at the server, without labels. Centring y_i over classes would move
  ybar(u) by a constant, which no prediction depends on.
* **energy weights** (beta): ybar(u) = sum_i w_i(u) y_i(u), w_i(u) = softmax over clients of beta z_i(u), z_i(u) the
  logsumexp_c y_i(u)_c, standardised over the pool within the client. Energy as a sign of what a model was trained on:
  Liu et al. (NeurIPS 2020, arXiv 2010.03759). Both together: sum_i w_i(u) [y_i(u)_c - lambda log max(m_i(c), 1e-4)].
* **fedaux**: sum_i s_i(u) y_i(u) / sum_j s_j(u) with the certainties that clients send (`certainty.py`).
* **label counts**: ybar(u)_c = sum_i n_ic y_i(u)_c / sum_j n_jc, n_ic the labels c that client i holds and tells (a
  later FedGen, Zhu et al., ICML 2021, as public ports have it). Of texts: its tokens.
* **seen prior**: the same with m_i(c) at temperature 0.8 in place of n_ic (FedRevive's weights, arXiv 2511.00655, on U
  in place of its probes).

With lambda = 0, beta = 0 or equal certainties, counts or priors each is FedEcho's mean.

What a client sends beside its upload: fedaux `|U|` numbers and label counts C, once, with its first upload; the others
nothing. Departure: FedEcho's server sees model differences alone; of these two it learns about the data.

Cost a round, beside FedEcho's `(M + 1) |U| C`: prior correction `M |U| C + N C` (one bias a client, so the running sum
is enough), energy `M |U| C + N |U| C`, seen prior the same, fedaux and label counts `N |U| C`. That of the M new rows
is kept from round to round (`Evidence`); all rows are read, `N |U| C`, wherever a weight depends on the image or the
class. Weights e^(beta z) have running sums too, but z reaches `sqrt(|U| - 1)`: what is taken out of such a sum does not
cancel.

In every form of the bank: float16 rows give each weight to three digits. Of truncated rows the energy is exact and the
prior of a kept entry too; a dropped class has its even share of the rest. At 0.8 truncated rows do not give the prior,
so the seen prior is refused there; and all but fedaux where rows are probabilities (`average`): they need logits.

What can be said beforehand (each is a test):

* Under label shift, y_i(u)_c = log p(u | c) + log pi_i(c), and with m_i = pi_i, the teacher is the posterior under the
  prior prod_i pi_i(c)^((1 - lambda) / N): FedEcho has the geometric mean of the clients' priors, lambda = 1 a uniform
  one. So lambda = 1 is wrong where the true prior is skewed: where all clients hold the same skewed classes, 0 is right
  and lambda costs lambda log pi(c).
* The margin of class c over k is linear in lambda, with the slope S = mean_i log(m_i(k) / m_i(c)) for **all** images
  alike: those of c gain what those of k lose. With margins M_c < 0 < M_k of the two kinds of image at lambda = 0, both
  are right between -M_c / S and M_k / S, and their least margin is largest halfway, at (M_k - M_c) / 2S, which can be
  far below 1. That it is near 1/2 is measured, not derived.
* m_i is no prior of the data but the mean of predictions on U. A client that tells the classes apart has m_i(c) = the
  share of c in U, whatever it holds: on a balanced U it is left alone, on another its teacher is moved to equal shares.
  A class that U lacks is raised by up to lambda log 1e4 = 9.2 lambda nats on every image. On another domain m_i is
  whatever foreign images look like to the model.
* Neither lambda nor beta is a function of the bank: the same rows with the two kinds of image exchanged have another
  best lambda. With the shares rho of the classes in U known, mean_u softmax(ybar(u)) = rho would be a condition for it.
* Each client's z has mean 0 and variance 1, so none is loud everywhere, but a faulty one that is sure on a few images
  decides these alone as beta grows. Prior correction leaves it 1 / N, as FedEcho does: no more, and no less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedecho.learning.bank import Bank, bank_average, mean_over
from fedecho.learning.echo_settings import Distillation

FLOOR = 1e-4
"""The least prior that is corrected for: a class that a client never names is raised by lambda log 1e4 at most."""
SEEN_TEMPERATURE = 0.8
"""Of the seen prior, as in FedRevive."""


def class_priors(rows: Tensor, temperature: float = 1.0) -> Tensor:
    """Return m_i(c) = mean_u softmax(y_i(u) / T)_c `[clients, classes]` of `rows` `[clients, pool, ..., classes]`."""
    return (rows.float() / temperature).softmax(-1).flatten(1, -2).mean(1)


def log_priors(rows: Tensor) -> Tensor:
    """Return log max(m_i(c), 1e-4) `[clients, classes]`, lambda times which is taken from each client's logits."""
    return class_priors(rows).clamp_min(FLOOR).log()


def standard_energies(rows: Tensor) -> Tensor:
    """Return z_i(u) `[clients, pool, ...]`, the logsumexp of the logits of `rows` `[clients, pool, ..., classes]`, with
    mean 0 and (population) variance 1 over u within each client; 0 for a client whose energy is the same everywhere."""
    energy = rows.float().logsumexp(-1)
    flat = energy.flatten(1).double()
    centred = flat - flat.mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    # What rounding leaves of a constant is no signal.
    varies = deviation > 1e-6 * flat.abs().amax(1, keepdim=True)
    return torch.where(varies, centred / deviation, 0.0).to(energy.dtype).view_as(energy)


def shares(scores: Tensor, counts: Tensor) -> Tensor:
    """Return w = softmax over clients of scores + log a, of the shape of `scores` `[clients, ...]`: sums of 1 over
    clients; where nobody has a say (all scores -inf), in proportion to a = `counts` `[clients]`, not all zero."""
    own = counts.to(scores).log().view(-1, *[1] * (scores.dim() - 1))
    total = scores + own
    return torch.where(total.isneginf().all(0), own.expand_as(total), total).softmax(0)


def weighted_mean(rows: Tensor, weights: Tensor, biases: Tensor | None = None) -> Tensor:
    """Return sum_i w_i (y_i - b_i) `[pool, ..., classes]`.

    `rows` y are `[clients, pool, ..., classes]`, `weights` broadcast to them, `biases` b `[clients, classes]`.
    """
    out = torch.zeros_like(rows[0], dtype=torch.float32)
    for client, (row, weight) in enumerate(zip(rows, weights, strict=True)):  # a row at a time, not a copy of the bank
        out.addcmul_(row.float() if biases is None else row.float() - biases[client], weight)
    return out


@dataclass(frozen=True, eq=False)
class Evidence:
    """What weighs each client's row, kept from its upload to the next; updated in place."""

    log_priors: Tensor | None
    """log max(m_i(c), 1e-4) `[clients, classes]`; none without prior correction."""
    scores: Tensor | None
    """Logarithms of the rows' weights, up to a constant for all clients: `[clients, pool, ..., 1]`, or
    `[clients, 1, ..., classes]`; none where all rows have the same."""

    @staticmethod
    def empty(clients: int, shape: tuple[int, ...], settings: Distillation, device: torch.device) -> Evidence | None:
        """Return the evidence before any upload, none where the settings weigh nothing; `shape` is that of a row,
        `(pool, ..., classes)`."""
        if not settings.weighs:
            return None
        priors = torch.zeros(clients, shape[-1], device=device) if settings.prior_correction else None
        of_a_row = score_shape(shape, settings)
        return Evidence(priors, None if of_a_row is None else torch.zeros(clients, *of_a_row, device=device))

    def note(self, client: int, row: Tensor, settings: Distillation) -> None:
        """Take note of a client's new row `[pool, ..., classes]`, as the bank gives it back."""
        rows = row.unsqueeze(0)
        if self.log_priors is not None:
            self.log_priors[client] = log_priors(rows)[0]
        if self.scores is not None and settings.energy_weight:
            self.scores[client] = settings.energy_weight * standard_energies(rows)[0].unsqueeze(-1)
        if self.scores is not None and settings.teacher_weights == "seen prior":
            self.scores[client] = class_priors(rows, SEEN_TEMPERATURE)[0].log()

    def hear(self, client: int, report: Tensor) -> None:
        """Take note of what a client sent: certainties `[pool]`, or label counts `[classes]`."""
        assert self.scores is not None
        self.scores[client] = report.to(self.scores).log().view_as(self.scores[client])

    def pieces(self, sizes: Sequence[int]) -> list[Evidence]:
        """Return the evidence for pieces of the pool of these sizes, views of it."""
        if self.scores is None or self.scores.shape[1] != sum(sizes):
            return [self] * len(sizes)
        return [replace(self, scores=part) for part in torch.split(self.scores, list(sizes), 1)]


def score_shape(shape: tuple[int, ...], settings: Distillation) -> tuple[int, ...] | None:
    """Return the shape of one client's scores for a row of `shape` `(pool, ..., classes)`; none without any."""
    pool, *positions, classes = shape
    if settings.energy_weight:
        return (pool, *positions, 1)
    match settings.teacher_weights:
        case "fedaux":
            return (pool, *[1] * len(positions), 1)
        case "label counts" | "seen prior":
            return (1, *[1] * len(positions), classes)
    return None


def weighted_average(bank: Bank, evidence: Evidence, settings: Distillation, weights: Tensor | None) -> Tensor:
    """Return ybar `[pool, ..., classes]` of a bank, or of a piece of it with its piece of the evidence; `weights`
    a `[clients]` where not all seen rows count alike."""
    counts = bank.seen().float() if weights is None else weights
    biases = None if evidence.log_priors is None else settings.prior_correction * evidence.log_priors
    if evidence.scores is not None:
        return weighted_mean(bank.dense(), shares(evidence.scores, counts), biases)
    assert biases is not None
    return bank_average(bank, weights) - mean_over(counts, biases)
