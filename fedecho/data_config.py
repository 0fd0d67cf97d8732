"""Which data a run is about: a part of `config.RunConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedecho.checked import Checked, require

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
