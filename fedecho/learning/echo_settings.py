"""The settings of echo distillation: each gap in the summary of FedEcho (arXiv 2511.19966) is a field, whose default is
the reading chosen here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from fedecho.core.checks import Checked, Count, Natural, NotNegative, Positive, PositiveShare, Share, require


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
    """lambda: how much of the class prior estimated from a row is subtracted (`weighting.py`); 0 = as in the paper."""
    energy_weight: NotNegative = 0.0
    """beta: how much more a row counts on images where its energy is high (`weighting.py`); 0 = as in the paper."""
    teacher_weights: Literal["equal", "fedaux", "label counts", "seen prior"] = "equal"
    """Published weightings of the rows (`weighting.py`): certainties or label counts that clients send, or the class
    prior that a row shows."""
    trim: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    """Share of the smallest and of the largest logits that is left out, for each prediction and class, over the rows
    that teach (`bank.trimmed_mean`): 0 = the mean, as in the paper; 0.5 = the median."""
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
    """Whether this round's M uploads already count in this round's teacher, as in Algorithm 1, which stores them on
    arrival."""
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
        both, words = None not in (self.bank_top_k, self.bank_labels), "truncates already; give one of them"
        require(not both, "bank_labels", self.bank_labels, f"bank_top_k = {self.bank_top_k} {words}")
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
        """Check that `trim` is used only with full rows of logits that count equally or not at all."""
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
