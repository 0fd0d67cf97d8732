"""Echo distillation: the loss and the clipped steps towards a teacher (see `teacher.py`).

Implements equations 2-4 and lines 12-16 of Algorithm 1 of FedEcho (arXiv 2511.19966) as far as a summary of the paper
states them (it numbers entropy, alpha and loss together as 3-4). Every point that it leaves open is a field of
`Distillation` (`echo_settings.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights


@dataclass(frozen=True, eq=False)
class Teacher:
    """The distillation targets of one round, computed once for the whole pool."""

    probs: Tensor
    """p_u `[pool, ..., classes]`: one distribution per image, or per position of a text."""
    labels: Tensor
    """Hard labels `[pool, ...]`."""
    entropy: Tensor
    """H_u / log C in [0, 1], `[pool, ...]`."""
    weights: Tensor | None = None
    """Weight of each prediction `[pool, ...]`, relative to the others in its minibatch; none = all equal."""


def mixing_weight(entropy: Tensor, settings: Distillation) -> Tensor:
    r"""Return alpha in [alpha_min, alpha_max] for entropies `[batch, ...]`: a scalar per batch, or `[batch, ...]`.

    The more uncertain the teacher, the more weight on KL (Eq. 3-4, \bar H the mean over the minibatch):

    .. math:: \alpha = \alpha_{\min} + (\alpha_{\max} - \alpha_{\min})\,\bar H
    """
    level = entropy if settings.alpha_scope == "sample" else entropy.mean()
    level = 1 - level if settings.alpha_direction == "falling" else level
    alpha: Tensor = settings.alpha_min + (settings.alpha_max - settings.alpha_min) * level
    return alpha


def kl_from_logits(probs: Tensor, student: Tensor, nats: Tensor | None = None) -> Tensor:
    """Return KL(probs || softmax(student)) per prediction `[...]`, in nats; both arguments are `[..., classes]`.

    `nats` `[...]`: the entropy of `probs`, where it is known already.
    """
    # KL is the cross-entropy with soft labels, one fused operation, minus the teacher's entropy.
    return _cross_entropy(student, probs) - (entropy_in_nats(probs) if nats is None else nats)


def entropy_in_nats(probs: Tensor) -> Tensor:
    """Return the entropy in nats `[...]` of distributions `[..., classes]`, with 0 log 0 = 0."""
    entropy: Tensor = torch.special.entr(probs).sum(-1)
    return entropy


def _cross_entropy(student: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy `[...]` of logits `[..., classes]` with labels `[...]` or distributions."""
    rows = student.flatten(0, -2)  # torch looks for the classes on axis 1
    target = target.flatten(0, -2) if target.is_floating_point() else target.flatten()
    return F.cross_entropy(rows, target, reduction="none").view(student.shape[:-1])


def reverse_kl_from_logits(probs: Tensor, student: Tensor) -> Tensor:
    """Return KL(softmax(student) || probs) per prediction `[...]`, in nats; `probs` below 1e-12 count as 1e-12."""
    log_student = F.log_softmax(student, -1)
    return (log_student.exp() * (log_student - probs.clamp_min(1e-12).log())).sum(-1)


def distillation_loss(
    student: Tensor,
    probs: Tensor,
    labels: Tensor,
    alpha: Tensor,
    settings: Distillation,
    weights: Tensor | None = None,
    nats: Tensor | None = None,
) -> Tensor:
    r"""Return the loss of a minibatch B of U in nats (Eq. 3-4), q the student's distribution.

    .. math:: L = \operatorname{mean}_{u \in B} \big[\alpha \operatorname{KL}(p_u \,\|\, q_u)
              + (1 - \alpha) \operatorname{CE}(q_u, \text{label}_u)\big]

    `student` logits and `probs` are `[batch, ..., classes]`, `labels` `[batch, ...]`, `alpha` a scalar or
    `[batch, ...]`; u runs over all predictions. With T_d != 1 the student is softened too and KL is scaled by T_d^2, as
    is usual. Finite for logits of any finite size. `weights` `[batch, ...]` make the mean a weighted one (all zero: no
    gradient). `nats` `[batch, ...]`: the entropy of `probs`, where it is known already.
    """
    softened = student / settings.temperature
    forward = settings.kl == "forward"
    soft = kl_from_logits(probs, softened, nats) if forward else reverse_kl_from_logits(probs, softened)
    soft = soft * settings.temperature**2
    hard = _cross_entropy(student, labels)
    losses = alpha * soft + (1 - alpha) * hard
    return losses.mean() if weights is None else (weights * losses).sum() / weights.sum().clamp_min(1e-12)


def clip_factor(gradient: Tensor, settings: Distillation) -> tuple[Tensor, Tensor]:
    r"""Return the factor :math:`\min(1, \nu / \|g\|_2)` of Clip(g, nu) (Eq. 2) and the norm of g `[P]`, both scalars.

    With `clip="value"` the factor is a vector `[P]` that takes each component to [-nu, nu].
    """
    norm = gradient.norm()
    if settings.clip_norm is None:
        return torch.ones_like(norm), norm
    size = gradient.abs() if settings.clip == "value" else norm
    return (settings.clip_norm / size).clamp(max=1), norm


def distil(
    model: FlatModel, x: Weights, pool: Tensor, taught: Teacher, settings: Distillation, rng_key: tuple[int, int]
) -> tuple[Weights, dict[str, float]]:
    r"""Take Q clipped steps on minibatches of U (Algorithm 1, lines 12-16).

    .. math:: x \leftarrow x - \eta_d \operatorname{Clip}(\nabla L, \nu)

    Args:
        model: workspace model in which the steps are computed.
        x: weights to start from.
        pool: U `[pool, ...]`.
        taught: the round's teacher.
        settings: Q, eta_d, nu and the other settings.
        rng_key: (seed, round), the key of the random stream of minibatches.

    Returns:
        The new weights, and means over the steps: alpha, entropy (in [0, 1]), clipped (share in [0, 1]), gradient_norm,
        distillation_loss (nats).
    """
    model.load(x)
    model.module.train(settings.batchnorm == "train")
    adam = torch.optim.Adam([model.params], lr=settings.lr) if settings.optimizer == "adam" else None
    nats = torch.cat([entropy_in_nats(probs) for probs in torch.split(taught.probs, settings.batch_size)])
    steps: list[dict[str, Tensor]] = []
    for batch in pool_batches(len(pool), settings, rng_key):
        entropy, counts = taught.entropy[batch], None if taught.weights is None else taught.weights[batch]
        alpha = mixing_weight(entropy, settings)
        student, probs, labels = model.logits(pool[batch]), taught.probs[batch], taught.labels[batch]
        loss = distillation_loss(student, probs, labels, alpha, settings, counts, nats[batch])
        gradient = model.gradient(loss)
        factor, norm = clip_factor(gradient, settings)
        with torch.no_grad():
            if adam is None:
                model.params.addcmul_(gradient, factor, value=-settings.lr)
            else:
                model.params.grad = gradient * factor
                adam.step()
                model.params.grad = None
        seen = {"alpha": alpha, "entropy": entropy, "gradient_norm": norm, "distillation_loss": loss.detach()}
        steps.append(seen | {"clipped": (factor < 1).any().float()})
    means = {name: float(torch.cat([step[name].reshape(-1) for step in steps]).mean()) for name in steps[0]}
    if settings.norm_quantiles:
        norms = torch.stack([step["gradient_norm"] for step in steps])
        means |= {"gradient_norm_median": float(norms.median()), "gradient_norm_max": float(norms.max())}
    return model.weights(), means


def pool_batches(count: int, settings: Distillation, rng_key: tuple[int, int]) -> list[Tensor]:
    """Return Q index batches over U: shuffled passes, a new order for each pass and round."""
    rng = stream(rng_key[0], "distillation", rng_key[1])
    batches: list[Tensor] = []
    while len(batches) < settings.steps:
        batches += torch.split(torch.from_numpy(rng.permutation(count)), min(settings.batch_size, count))
    return batches[: settings.steps]
