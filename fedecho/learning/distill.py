"""Echo distillation: its settings, its loss, and the clipped steps towards a teacher (see `teacher.py`).

Equations 2-4 and lines 12-16 of Algorithm 1 of FedEcho (arXiv 2511.19966), as far as a summary of the paper gives them;
every gap is a field of `Distillation` whose default is the reading chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from fedecho.core.checks import Checked, Count, Natural, NotNegative, Positive, PositiveShare, Share, require
from fedecho.core.rng import stream
from fedecho.learning.bank import check_form
from fedecho.learning.flat import FlatModel, Weights


@dataclass(frozen=True)
class Distillation(Checked):
    """How the server distils; `none` stands for "no limit"."""

    steps: Natural = 20
    """Q. Unspecified in paper; the stated overhead of 2-3.5 s suggests tens of steps."""
    lr: NotNegative = 0.01
    """eta_d. Unspecified in paper; tuned on the validation split."""
    batch_size: Count = 128
    """Pool images per step, in a fresh order each round. Unspecified in paper; 128 is FedDF's value."""
    clip_norm: Positive | None = 5.0
    """nu (Table 11)."""
    clip: Literal["norm", "value"] = "norm"
    """Unspecified in paper: the L2 norm of the whole gradient; by value a threshold of 5 would never bind."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Eq. 2 is plain SGD; Adam (as in FedDF) starts afresh each round."""
    alpha_min: Share = 0.2
    """Unspecified in paper, as is `alpha_max`."""
    alpha_max: Share = 0.8
    alpha_scope: Literal["batch", "sample"] = "batch"
    """One alpha per step from the batch's mean entropy (Eq. 3-4), or one per prediction."""
    alpha_direction: Literal["rising", "falling"] = "rising"
    """`rising`: more KL where the teacher is uncertain; `falling` is a control."""
    entropy_of: Literal["teacher", "clients"] = "teacher"
    """Unspecified in paper: entropy of the averaged teacher, or the mean of the clients' entropies."""
    average: Literal["logits", "probabilities"] = "logits"
    hard_label: Literal["teacher", "majority"] = "teacher"
    """argmax of the averaged teacher, or the class that most clients predict."""
    temperature: Positive = 1.0
    """T_d; none is mentioned in the paper."""
    kl: Literal["forward", "reverse"] = "forward"
    """KL(teacher || student), or KL(student || teacher)."""
    teachers: Literal["seen", "idle", "fresh", "fast", "slow"] = "seen"
    """Whose rows count: all clients with an upload; idle ones; this round's M; all but the slow; only the slow."""
    prior_correction: Annotated[float, Interval(ge=0, le=2)] = 0.0
    """lambda: how much of the class prior that a row shows is taken from it (`weighting.py`); 0 = as in the paper."""
    energy_weight: NotNegative = 0.0
    """beta: how much more a row counts on images where its energy is high (`weighting.py`); 0 = as in the paper."""
    teacher_weights: Literal["equal", "fedaux", "label counts", "seen prior"] = "equal"
    """Published weightings of the rows (`weighting.py`): certainties or label counts that clients send, or the class
    prior that a row shows."""
    trim: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    """Of a prediction's logits for a class, over the rows that teach, this share of the smallest and of the largest is
    left out (`bank.trimmed_mean`): 0 = the mean, as in the paper; 0.5 = the median."""
    source: Literal["bank", "average"] = "bank"
    """Whose predictions teach: the banked clients', or (a control) those of the server's models' moving average."""
    bank_decay: PositiveShare = 1.0
    """Weight decay^age of a row, its age in rounds; the paper mentions none (1)."""
    bank_max_age: Natural | None = None
    """Rows older than this many rounds are left out."""
    bank_dtype: Literal["float32", "float16"] = "float32"
    """Precision of the stored rows; halves `N * |U| * C * 4` bytes. The paper does not say how a large bank is kept."""
    bank_top_k: Count | None = None
    """Of each row only the k largest entries are kept, and one number for all others that spreads their probability
    evenly (at temperature 1); none = all. Unspecified in paper: with a vocabulary for classes, all would not fit."""
    bank_labels: Count | None = None
    """m: instead, the entries of the first m classes are kept (of a vocabulary in order of frequency: the m most
    frequent tokens), and one number for all others as above; none = all. Unspecified in paper."""
    include_fresh: bool = True
    """Whether this round's M uploads already count in this round's teacher (they are stored on arrival)."""
    client_buffers: Literal["own", "server"] = "own"
    """BatchNorm statistics of the rebuilt client model: the client's own, or those of the version it started from."""
    batchnorm: Literal["eval", "train"] = "eval"
    """Statistics stay frozen while distilling, or follow the pool's batches."""
    broadcast: Literal["distilled", "averaged"] = "distilled"
    """Clients start from the distilled x_{t+1}, or from the averaged model before it (the distilled one is scored)."""
    warmup_rounds: Natural = 0
    """Rounds before distillation begins; clipping is said to be the only early guard."""
    pool_weights: Literal["equal", "certainty", "agreement"] = "equal"
    """How much an image of U counts: all alike; 1 - H_u / log C; or the share of teachers that predict its label."""
    corrupt_rounds: Natural = 0
    """First rounds in which the teacher is made wrong and sure (a stress test of clipping; see `corrupted`)."""
    norm_quantiles: bool = False
    """Whether the record also has the median and the largest gradient norm of each round's steps."""

    def validate(self) -> None:
        """Check alpha_min <= alpha_max, that a row has one form, and that somebody teaches."""
        low, high = self.alpha_min, self.alpha_max
        require(low <= high, "alpha_max", high, f"give a number in [alpha_min, 1] = [{low:g}, 1]")
        check_form(self.bank_top_k, self.bank_labels)
        taught = self.include_fresh or self.teachers != "fresh"
        require(taught, "include_fresh", self.include_fresh, "with teachers = fresh nobody would teach; leave it on")
        self._check_unread()
        if self.weighs:
            self._check_weighting()
        if self.trim:
            self._check_trim()

    @property
    def weighs(self) -> bool:
        """Whether the rows are weighted by what they or their clients say of the data (`weighting.py`)."""
        return self.prior_correction > 0 or self.energy_weight > 0 or self.teacher_weights != "equal"

    def _check_unread(self) -> None:
        """Check that nothing is set that the other settings switch off; a profile's minibatches stay what they are."""
        fixed, averaged = self.alpha_min == self.alpha_max, self.source == "average"
        labelled = self.alpha_min < 1 or self.pool_weights == "agreement"
        others = set(vars(self)) - {"steps", "lr", "batch_size"}
        self.unread(self.steps == 0 or self.lr == 0, "with steps or lr = 0 nothing is distilled", *others)
        self.unread(self.clip_norm is None, "with clip_norm = none nothing is clipped", "clip")
        self.unread(fixed, f"alpha is {self.alpha_min:g} throughout", "alpha_scope", "alpha_direction")
        self.unread(not labelled, "alpha is 1 throughout, without hard labels", "hard_label")
        self.unread(self.alpha_max == 0, "alpha is 0 throughout, without KL", "kl")
        self.unread(self.teachers == "fresh", "rows of this round have no age", "bank_decay", "bank_max_age")
        forms = ("bank_dtype", "bank_top_k", "bank_labels", "average", "entropy_of", "hard_label", "client_buffers")
        self.unread(averaged, "the average of the server's models teaches, not the bank", *forms)
        agreed, words = averaged and self.pool_weights == "agreement", "a single teacher agrees with itself"
        require(not agreed, "pool_weights", self.pool_weights, f"{words}; give equal or certainty")
        warm, words = self.corrupt_rounds > self.warmup_rounds, f"none of the first {self.warmup_rounds} is taught"
        require(warm or self.corrupt_rounds == 0, "corrupt_rounds", self.corrupt_rounds, f"{words}; give more, or 0")

    def _check_trim(self) -> None:
        """Check that the rows are whole, of logits, and count alike or not at all."""
        words = f"trim = {self.trim:g} takes whole rows of logits that count alike; leave it out"
        need = {"average": "logits", "source": "bank", "bank_decay": 1.0, "bank_top_k": None, "bank_labels": None}
        for name, only in need.items():
            require(getattr(self, name) == only, name, getattr(self, name), words)
        require(not self.weighs, "trim", self.trim, "of rows that are weighted none is left out; give 0")

    def _check_weighting(self) -> None:
        """Check that a weighting goes with what is read of the rows."""
        how, named = self.teacher_weights, self.teacher_weights != "equal"
        for name in ("prior_correction", "energy_weight"):
            value = getattr(self, name)
            require(not named or value == 0, name, value, f"teacher_weights = {how} weighs the rows already; give 0")
        logits = self.average == "logits" or how == "fedaux"
        require(logits, "average", self.average, "this weighting needs the rows' logits; leave it at logits")
        for name, only in (("source", "bank"), ("entropy_of", "teacher"), ("hard_label", "teacher")):
            value = getattr(self, name)
            require(value == only, name, value, f"clients' rows are weighted; leave it at {only}")
        agreed = self.pool_weights == "agreement"
        require(not agreed, "pool_weights", self.pool_weights, "clients' rows are weighted; give equal or certainty")
        whole = self.bank_top_k is None and self.bank_labels is None
        words = "the seen prior is taken at temperature 0.8, at which truncated rows do not give it; keep all classes"
        require(whole or how != "seen prior", "teacher_weights", how, words)


@dataclass(frozen=True, eq=False)
class Teacher:
    """What the student is taught, computed once a round for the whole pool."""

    probs: Tensor
    """p_u `[pool, ..., classes]`: one distribution an image, or one for each position of a text."""
    labels: Tensor
    """Hard labels `[pool, ...]`."""
    entropy: Tensor
    """H_u / log C in [0, 1], `[pool, ...]`."""
    weights: Tensor | None = None
    """How much each prediction counts `[pool, ...]`, relative to the others of its minibatch; none = all alike."""


def mixing_weight(entropy: Tensor, settings: Distillation) -> Tensor:
    r"""Return alpha in [alpha_min, alpha_max] for entropies `[batch, ...]`: a scalar per batch, or `[batch, ...]`.

    The more uncertain the teacher, the more weight on KL (Eq. 3-4):

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
    # Cross-entropy with soft labels is one fused operation; the teacher's entropy takes it to the divergence.
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
    r"""Return the loss of a minibatch B of U in nats (Eq. 3), q the student's distribution.

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
        model: where the steps are computed.
        x: the version they start from.
        pool: U `[pool, ...]`.
        taught: the round's teacher.
        settings: Q, eta_d, nu and the rest.
        rng_key: (seed, round), which names the stream of minibatches.

    Returns:
        The new version, and means over the steps: alpha, entropy (in [0, 1]), clipped (share in [0, 1]), gradient_norm,
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
