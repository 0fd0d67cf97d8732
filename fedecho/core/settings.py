"""The parts of a run's config: data, partition, protocol, delays, local work, evaluation, arithmetic."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Literal

from fedecho.core.checks import Checked, require

DelayModel = Literal[
    "constant", "mild", "large", "uniform", "exponential", "lognormal", "pareto", "bursty", "periodic", "trace"
]
TaskKind = Literal["classification", "generation"]
PoolSource = Literal[
    "held-out", "self", "cifar10", "cifar100", "cifar100-20k", "stl10", "tiny-imagenet-32", "generated", "diffusion",
    "digits", "dead-leaves", "noise", "austen", "sst2", "agnews", "trec",
]  # fmt: skip


@dataclass(frozen=True)
class Data(Checked):
    """Which images the clients hold and which unlabelled pool U the server holds."""

    name: str = "fashion-mnist"
    train_size: int | None = None
    """Client images in total, the first ones in canonical order; none = all of them."""
    pool: PoolSource = "held-out"
    """Source of U: `held-out` (same domain, labels withheld), another data set, samples of a model, or a rule;
    `self`: text sampled from the server's own model after `warmup_rounds`."""
    pool_size: int = 1000
    """|U|, images the server holds."""
    pool_mix: float = 0.0
    """Share of each image of U that comes from another one: (1 - pool_mix) u_i + pool_mix u_pi(i), pi fixed."""
    validation_size: int = 0
    """Images taken from the end of the client data where the data set has no validation split of its own."""
    mask: bool = True
    """Whether `<name>` stands for every name that would give a novel of `austen` away."""
    task: TaskKind = "classification"
    """What is predicted: the class of an image or text, or (`generation`) the next token of running text."""
    vocabulary: int = 1000
    """V: tokens of the clients' byte-level BPE, the classes of `generation`."""

    def validate(self) -> None:
        """Check sizes."""
        generates = self.task == "generation"
        require(not generates or self.name == "austen", "task", self.task, "only austen has running text; name that")
        masked = self.name == "austen" and not generates
        require(self.mask or masked, "mask", self.mask, "only austen has a mask, on its passages; leave it out")
        words = "it belongs to the task generation; leave it out"
        require(generates or self.vocabulary == 1000, "vocabulary", self.vocabulary, words)
        require(257 <= self.vocabulary <= 32_768, "vocabulary", self.vocabulary, "give 257 (256 are bytes) to 32768")
        require(generates or self.pool != "self", "pool", self.pool, "only with the task generation is U sampled so")
        require(self.train_size is None or self.train_size > 0, "train_size", self.train_size, "give at least 1 image")
        require(self.pool_size > 0, "pool_size", self.pool_size, "give at least 1 image")
        require(0 <= self.pool_mix <= 0.5, "pool_mix", self.pool_mix, "give a share in [0, 0.5]")
        pairs = self.pool_mix == 0 or self.pool_size > 1
        require(pairs, "pool_size", self.pool_size, "mixing needs at least 2 images")
        require(self.validation_size >= 0, "validation_size", self.validation_size, "give 0 or more images")


@dataclass(frozen=True)
class Partition(Checked):
    """How the labelled images are divided among the N clients."""

    kind: Literal["dirichlet", "iid", "natural"] = "dirichlet"
    """`natural`: each client holds whole chapters of one novel."""
    alpha: float = 0.1
    """Dirichlet concentration over clients, one draw per class; small is heterogeneous."""
    straggler_classes: int = 0
    """k classes of which the slow clients own `straggler_share` of the images (label-speed correlation)."""
    straggler_share: float = 1.0
    straggler_mix: Literal["mixed", "pure"] = "mixed"
    """`mixed`: Dir(alpha) deals what the slow clients own among them, and they share in the other classes too; `pure`:
    they hold what they own in equal parts and nothing else."""
    min_size: int = 10
    """Every client has this many images at least. The official loop has no minimum and fails on an empty client."""
    too_small: Literal["redraw", "top up"] = "redraw"
    """What is done for a client with fewer. `redraw`: draw all shares again until none has; `top up`: it is given some
    of the client that holds most, which works with few classes too, where no draw would give everyone enough."""
    max_redraws: int = 10_000

    def validate(self) -> None:
        """Check ranges."""
        require(self.alpha > 0, "alpha", self.alpha, "the Dirichlet concentration must be > 0")
        require(self.straggler_classes >= 0, "straggler_classes", self.straggler_classes, "give 0 or more classes")
        owned = self.kind != "iid" or self.straggler_classes == 0
        require(owned, "straggler_classes", self.straggler_classes, "with kind iid nobody owns a class; give 0")
        require(0 <= self.straggler_share <= 1, "straggler_share", self.straggler_share, "give a share in [0, 1]")
        whole = self.kind != "natural" or self.straggler_share == 1
        require(
            whole, "straggler_share", self.straggler_share, "with kind natural a novel is one client's or not; give 1"
        )
        require(self.min_size >= 1, "min_size", self.min_size, "every client needs at least 1 image")
        require(self.max_redraws >= 1, "max_redraws", self.max_redraws, "give at least 1 draw")


@dataclass(frozen=True)
class Protocol(Checked):
    """Who is busy and when the server steps: N clients, M_c of them at work, a round every M arrivals, T rounds."""

    clients: int = 50
    """N"""
    concurrency: int = 25
    """M_c"""
    buffer_size: int = 5
    """M"""
    rounds: int = 300
    """T"""
    dispatch: Literal["on_flush", "on_arrival"] = "on_flush"
    """`on_flush`: M idle clients start when the round closes (official FADAS loop); `on_arrival`: one at once."""
    delta: Literal["sent", "fadas_code"] = "sent"
    """Delta_i against the version that was sent. `fadas_code`: as in the official FADAS loop, of the M that start
    when a round closes all but the last train from the version before, and Delta_i is against the new one."""
    reject_failed: bool = True
    """Reject an upload that is not finite, with its predictions; otherwise it ends the run as diverged."""

    def validate(self) -> None:
        """Check 1 <= M <= M_c <= N and T >= 1."""
        require(self.clients >= 1, "clients", self.clients, "N must be at least 1")
        require(
            1 <= self.concurrency <= self.clients,
            "concurrency",
            self.concurrency,
            f"M_c must be between 1 and N = {self.clients}",
        )
        require(
            1 <= self.buffer_size <= self.concurrency,
            "buffer_size",
            self.buffer_size,
            f"M must be between 1 and M_c = {self.concurrency}",
        )
        require(self.rounds >= 1, "rounds", self.rounds, "T must be at least 1")
        flushed = self.delta == "sent" or self.dispatch == "on_flush"
        require(flushed, "delta", self.delta, "the official loop starts clients on_flush; set dispatch to that")


@dataclass(frozen=True)
class Delays(Checked):
    """How long a job takes, in virtual seconds; clients are fast, medium or slow (see `delays.py`)."""

    model: DelayModel = "large"
    shape: float | None = None
    """Tail index of `pareto` (default 1.5), sigma of `lognormal` (default 1); no meaning elsewhere."""
    trace: str | None = None
    """CSV file with the columns client,duration for `trace`."""
    trace_sha256: str | None = None
    """Digest of that file; filled in by `delays.pin_trace`, so that the hash of a run names the content."""
    speed_counts: tuple[int, int, int] | None = None
    """Fixed numbers of fast, medium and slow clients; none = drawn per client by the official Dirichlet rule."""

    def validate(self) -> None:
        """Check that each option belongs to the model and is positive."""
        require(
            self.shape is None or self.model in ("pareto", "lognormal"),
            "shape",
            self.shape,
            f"it has no meaning for delay model {self.model}; leave it out",
        )
        require(self.shape is None or self.shape > 0, "shape", self.shape, "give a number > 0")
        require(
            (self.trace is not None) == (self.model == "trace"),
            "trace",
            self.trace,
            "give a CSV file exactly when the delay model is trace",
        )
        require(
            self.speed_counts is None or (len(self.speed_counts) == 3 and min(self.speed_counts) >= 0),
            "speed_counts",
            self.speed_counts,
            "give three counts >= 0: fast, medium, slow",
        )


@dataclass(frozen=True)
class Local(Checked):
    """Local SGD of one client: E epochs over its shuffled images; constant rate, no momentum."""

    lr: float = 0.1
    """eta_l"""
    epochs: int = 2
    """E"""
    batch_size: int = 50
    weight_decay: float = 1e-4
    augment: bool = False
    """Random crop (padding 4) and horizontal flip, as on CIFAR."""

    def validate(self) -> None:
        """Check ranges."""
        require(self.lr > 0, "lr", self.lr, "the local learning rate must be > 0")
        require(self.epochs >= 1, "epochs", self.epochs, "give at least 1 epoch")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "give at least 1 image")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "give a number >= 0")


@dataclass(frozen=True)
class Evaluation(Checked):
    """When and on what the server's model is scored."""

    every: int = 5
    """Rounds between evaluations; the last round is always evaluated."""
    split: Literal["test", "validation"] = "test"
    """`validation` while tuning; nothing is ever tuned on `test`."""
    scored: int = 5
    """The score is the mean of this many last evaluations. Unspecified in paper."""

    def validate(self) -> None:
        """Check the interval."""
        require(self.every >= 1, "every", self.every, "give at least 1 round")
        require(self.scored >= 1, "scored", self.scored, "give at least 1 evaluation")


@dataclass(frozen=True)
class Execution(Checked):
    """Batches and precisions; the defaults are those of every record made so far."""

    inference_batch: int = 200
    """Images per forward pass over U and the held-out images: another size sums in another order."""
    channels_last: bool = False
    """Keep images and convolution weights as [batch, height, width, channels] in memory."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Precision of convolutions and matrix products in forward and backward passes; weights stay float32."""
    compile: bool = False
    """Compile the forward and backward pass of full batches with torch.compile (on a GPU: replayed as CUDA graphs).

    Takes about a minute at the start of a process; needs a C++ compiler, on a GPU Triton besides.
    """

    def validate(self) -> None:
        """Check ranges."""
        require(self.inference_batch >= 1, "inference_batch", self.inference_batch, "give at least 1 image")

    def require_compiler(self, device: str) -> None:
        """Raise `InputError` where `compile` is asked for and its tools are not here."""
        if not self.compile:
            return
        names = (os.environ.get("CXX", "g++"), "g++", "clang++")
        require(any(map(shutil.which, names)), "compile", True, "no C++ compiler is here; install g++ or leave it off")
        if device.startswith("cuda"):
            require(importlib.util.find_spec("triton") is not None, "compile", True, "install triton or leave it off")
