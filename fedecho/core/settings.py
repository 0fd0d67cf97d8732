"""The parts of a run's config: data, partition, protocol, delays, local work, evaluation, arithmetic."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from fedecho.core.checks import BelowOne, Checked, Count, Natural, NotNegative, Positive, Share, is_named, require

DelayModel = Literal["constant", "mild", "large", "uniform", "exponential", "lognormal", "pareto", "bursty", "periodic",
                     "trace", "function"]  # fmt: skip
SHAPES = {"pareto": (0.1, 100.0), "lognormal": (1e-3, 10.0)}
"""Delay model -> ends of its `shape`."""
TaskKind = Literal["classification", "generation"]
PoolSource = Literal[
    "held-out", "self", "cifar10", "cifar100", "cifar100-20k", "stl10", "tiny-imagenet-32", "generated", "diffusion",
    "digits", "dead-leaves", "noise", "austen", "sst2", "agnews", "trec",
]  # fmt: skip


@dataclass(frozen=True)
class Data(Checked):
    """Which images the clients hold and which unlabelled pool U the server holds."""

    name: str = "fashion-mnist"
    """A known data set, or a file .npz of the user's own (`fedecho.data.arrays`)."""
    train_size: Count | None = None
    """Client images in total, the first ones in canonical order; none = all of them."""
    pool: PoolSource = "held-out"
    """Source of U: `held-out` (same domain, labels withheld), another data set, samples of a model, or images
    made by a rule; `self`: text sampled from the server's own model after `warmup_rounds`."""
    pool_size: Count = 1000
    """`|U|`, images the server holds."""
    pool_mix: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    """Share of each image of U that comes from another one: (1 - pool_mix) u_i + pool_mix u_pi(i), pi fixed."""
    validation_size: Natural = 0
    """Images taken from the end of the client data where the data set has no validation split of its own."""
    mask: bool = True
    """Whether `<name>` replaces every name that would reveal the novel of a passage of `austen`."""
    task: TaskKind = "classification"
    """What is predicted: the class of an image or text, or (`generation`) the next token of running text."""
    vocabulary: Annotated[int, Interval(ge=257, le=32768)] = 1000
    """V: size of the clients' byte-level BPE vocabulary (256 tokens are bytes), the classes of `generation`."""
    sha256: str | None = None
    """SHA-256 of the file `name`; filled in by `pins.pin`, so that a run's hash depends on the content."""

    @property
    def is_file(self) -> bool:
        """Whether the data are arrays of the user's own."""
        return self.name.endswith(".npz")

    def validate(self) -> None:
        """Check that settings of one data set or task are used with no other."""
        generates = self.task == "generation"
        self.unread(not self.is_file, "only a file .npz has one", "sha256")
        require(not generates or self.name == "austen", "task", self.task, "only austen has running text; name that")
        self.unread(self.name != "austen" or generates, "only austen has a mask, on its passages", "mask")
        self.unread(not generates, "it belongs to the task generation", "vocabulary")
        require(generates or self.pool != "self", "pool", self.pool, "only with the task generation is U sampled so")
        own = self.pool == self.name or (self.name, self.pool) == ("cifar100", "cifar100-20k")
        require(not own, "pool", self.pool, f"U would be the clients' own {self.name}; choose another source")
        require(self.pool_mix == 0 or self.pool_size > 1, "pool_size", self.pool_size, "mixing needs at least 2 images")


@dataclass(frozen=True)
class Partition(Checked):
    """How the labelled images are divided among the N clients."""

    kind: Literal["dirichlet", "iid", "natural"] = "dirichlet"
    """`natural`: each client holds whole chapters of one novel."""
    alpha: Positive = 0.1
    """Dirichlet concentration over clients, one draw per class; small is heterogeneous."""
    straggler_classes: Natural = 0
    """k classes of which the slow clients own `straggler_share` of the images (label-speed correlation)."""
    straggler_share: Share = 1.0
    straggler_mix: Literal["mixed", "pure"] = "mixed"
    """`mixed`: the slow clients split what they own by Dir(alpha) and also get shares of the other classes; `pure`:
    they split what they own equally and get nothing else."""
    min_size: Count = 10
    """Minimum number of images of a client. The official loop has no minimum and fails on an empty client."""
    too_small: Literal["redraw", "top up"] = "redraw"
    """What to do if a client has fewer. `redraw`: draw all shares again until none has fewer; `top up`: give it images
    of the client that holds most, which also works with few classes, where no draw would give every client enough."""
    max_redraws: Count = 10_000

    def validate(self) -> None:
        """Check that `kind` fits the straggler settings and the way shares are drawn."""
        kind, owned = self.kind, self.straggler_classes
        require(kind != "iid" or owned == 0, "straggler_classes", owned, "with kind iid nobody owns a class; give 0")
        whole, words = kind != "natural" or self.straggler_share == 1, "a novel is one client's or not; give 1"
        require(whole, "straggler_share", self.straggler_share, f"with kind natural {words}")
        self.unread(kind != "dirichlet", f"kind {kind} draws no shares", "alpha", "straggler_mix", "max_redraws")
        self.unread(self.too_small == "top up", "what is topped up is drawn once", "max_redraws")
        self.unread(owned == 0, "slow clients own no class", "straggler_share", "straggler_mix")


@dataclass(frozen=True)
class Protocol(Checked):
    """Who is busy and when the server steps: N clients, M_c of them at work, a round every M arrivals, T rounds."""

    clients: Count = 50
    """N"""
    concurrency: Count = 25
    """M_c"""
    buffer_size: Count = 5
    """M"""
    rounds: Count = 300
    """T"""
    dispatch: Literal["on_flush", "on_arrival"] = "on_flush"
    """`on_flush`: M idle clients start when the round closes (official FADAS loop); `on_arrival`: one per arrival."""
    delta: Literal["sent", "fadas_code"] = "sent"
    """`sent`: Delta_i is relative to the version that was sent. `fadas_code`, as in the official FADAS loop: of the M
    clients that start when a round closes, all but the last train from the previous version, yet Delta_i is relative to
    the new one."""
    reject_failed: bool = True
    """Reject an upload that is not finite, with its predictions; otherwise it ends the run as diverged."""
    max_delta_norm: Positive | None = None
    """Reject an upload whose `|Delta_i|` is larger; none = no limit."""
    norm_quantiles: bool = False
    """Whether the record also has the median and the largest `|Delta_i|` of the uploads that were let in."""

    def validate(self) -> None:
        """Check M <= M_c <= N."""
        at_work, size = self.concurrency, self.buffer_size
        require(at_work <= self.clients, "concurrency", at_work, f"M_c must be between 1 and N = {self.clients}")
        require(size <= at_work, "buffer_size", size, f"M must be between 1 and M_c = {at_work}")
        flushed = self.delta == "sent" or self.dispatch == "on_flush"
        require(flushed, "delta", self.delta, "the official loop starts clients on_flush; set dispatch to that")
        require(self.clients <= 10**6, "clients", self.clients, "the simulation is of at most 1,000,000 clients")
        require(self.rounds * size <= 10**7, "rounds", self.rounds, "T M, all arrivals, are at most 10,000,000")


@dataclass(frozen=True)
class Delays(Checked):
    """How long a job takes, in virtual seconds; clients are fast, medium or slow (see `delays.py`)."""

    model: DelayModel = "large"
    shape: Positive | None = None
    """Tail index of `pareto` (default 1.5), sigma of `lognormal` (default 1), see `SHAPES`; no meaning elsewhere."""
    trace: str | None = None
    """CSV file with the columns client,duration for `trace`."""
    trace_sha256: str | None = None
    """Digest of that file; filled in by `delays.pin_trace`, so that the hash of a run names the content."""
    speed_counts: tuple[Natural, Natural, Natural] | None = None
    """Fixed numbers of fast, medium and slow clients; none = drawn per client by the official Dirichlet rule. With a
    trace: this many of the shortest, middle and longest mean durations; none = by duration (`delays.speed_classes`)."""
    function: str | None = None
    """`module:function` for the model `function`: (client, its NumPy generator) -> a job's virtual seconds."""
    function_sha256: str | None = None
    """Digest of the file that defines it; filled in by `pins.pin`, so that the hash of a run names the content."""

    def validate(self) -> None:
        """Check that each option belongs to the model."""
        self.unread(self.model not in SHAPES, f"it has no meaning for delay model {self.model}", "shape")
        low, high = SHAPES.get(self.model, (0, math.inf))
        held = self.shape is None or low <= self.shape <= high
        require(held, "shape", self.shape, f"give a number in [{low:g}, {high:g}], or times are no longer finite")
        traced = (self.trace is not None) == (self.model == "trace")
        require(traced, "trace", self.trace, "give a CSV file exactly when the delay model is trace")
        named = self.function is not None and is_named(self.function)
        right, words = named if self.model == "function" else self.function is None, "the delay model is function"
        require(right, "function", self.function, f"give module:function exactly when {words}")
        for name in ("trace", "function"):
            self.unread(self.model != name, f"it is the digest of what only the model {name} has", f"{name}_sha256")


@dataclass(frozen=True)
class Faults(Checked):
    """Clients that lie or fail, for a stress test (`faults.py`)."""

    kind: Literal["none", "flipped labels", "noise", "scaled"] = "none"
    """What a faulty client does: train on flipped labels, or send noise or a multiple of Delta_i in its place."""
    share: BelowOne = 0.0
    """Share of the N clients that are faulty, rounded to a whole number of clients."""
    scale: float = 1.0
    """s: the norm of the noise as a multiple of `|Delta_i|`, or the multiple of Delta_i; negative = flipped signs."""

    def count(self, clients: int) -> int:
        """Return how many of N clients are faulty."""
        return round(self.share * clients)

    def validate(self) -> None:
        """Check that the kind, the share and the scale go together."""
        kind, share, scale = self.kind, self.share, self.scale
        require(kind != "none" or share == 0, "share", share, "say with kind what is wrong with them, or give 0")
        require(kind == "none" or share > 0, "share", share, f"with kind {kind} give a share in (0, 1)")
        self.unread(kind not in ("noise", "scaled"), f"it has no meaning for kind {kind}", "scale")
        require(kind != "noise" or scale > 0, "scale", scale, "noise needs a positive norm; give a number > 0")
        honest = kind == "scaled" and scale == 1
        require(not honest, "scale", scale, "deltas multiplied by 1 are honest; give another number, e.g. -4")


@dataclass(frozen=True)
class Local(Checked):
    """Local SGD of one client: E epochs over its shuffled images; constant rate, no momentum."""

    lr: Positive = 0.1
    """eta_l"""
    epochs: Count = 2
    """E"""
    batch_size: Count = 50
    weight_decay: NotNegative = 1e-4
    augment: bool = False
    """Random crop (padding 4) and horizontal flip, as on CIFAR."""


@dataclass(frozen=True)
class Evaluation(Checked):
    """When and on what the server's model is scored."""

    every: Count = 5
    """Rounds between evaluations; the last round is always evaluated."""
    split: Literal["test", "validation"] = "test"
    """`validation` while tuning; nothing is ever tuned on `test`."""
    scored: Count = 5
    """The score is the mean of this many last evaluations. Unspecified in paper."""
    size: Count | None = None
    """At most so many held-out images, texts or blocks are scored, the first in canonical order; none = all."""


@dataclass(frozen=True)
class Execution(Checked):
    """Batch sizes and precision; the defaults are those used for every record made so far."""

    inference_batch: Count = 200
    """Images per forward pass over U and the held-out images; another size changes the order of summation."""
    channels_last: bool = False
    """Keep images and convolution weights as [batch, height, width, channels] in memory."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Precision of convolutions and matrix products in forward and backward passes; weights stay float32."""
    compile: bool = False
    """Compile the forward and backward pass of full batches with torch.compile (on a GPU: replayed as CUDA graphs).

    Takes about a minute at the start of a process; needs a C++ compiler, on a GPU Triton besides.
    """

    def require_compiler(self, device: str) -> None:
        """Raise `InputError` if `compile` is set and its compilers are not installed."""
        if not self.compile:
            return
        names = (os.environ.get("CXX", "g++"), "g++", "clang++")
        require(any(map(shutil.which, names)), "compile", True, "no C++ compiler is here; install g++ or leave it off")
        if device.startswith("cuda"):
            require(importlib.util.find_spec("triton") is not None, "compile", True, "install triton or leave it off")
