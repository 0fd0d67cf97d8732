"""The inputs of a run as tensors: images, or texts as ids of words, of tokens or of wordpieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedecho import data as datasets
from fedecho.core.checks import require
from fedecho.core.config import LORA, RunConfig
from fedecho.data.pools import mixed
from fedecho.data.splits import Images, Labels, Splits, Texts, carve
from fedecho.data.tokens import CONTEXT, Blocks, Tokens, Vocabulary, blocks
from fedecho.learning import models
from fedecho.learning.client import ClientData, normalise
from fedecho.learning.evaluation import HeldOut
from fedecho.learning.models import pretrained

_MOMENTS = {
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


_Part = TypeVar("_Part", Images, Texts, Blocks)
_NOTHING = torch.empty(0)
"""The padding of texts, of which there are no crops."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """A data set on the device, in canonical order, and the model that reads it."""

    clients: ClientData
    """What they hold together."""
    classes: Labels
    """The class of each entry of it, by which they are partitioned."""
    held_out: HeldOut
    pool: Tensor
    """U."""
    module: nn.Module
    facts: dict[str, Any]
    """For the record: the data's digest and classes, for texts the vocabulary's digest and size, and what a pretrained
    encoder was."""
    groups: Labels | None = None
    """The chapter of each entry, where there are any."""
    decode: Callable[[Iterable[int]], str] | None = None
    """Token ids -> text, where the model generates text."""


def read(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return what the data set, the task and the model of `config` ask for; raises `InputError` if they do not fit."""
    if config.data.task == "generation":
        return read_tokens(config, device, root)
    return (read_texts if config.data.name in datasets.TEXTS else read_images)(config, device, root)


def _count(config: RunConfig, field: str, whole: int, who: str, what: str) -> int:
    count: int = getattr(config.data, field) or whole
    require(count <= whole, field, count, f"{who} has {whole} {what}")
    return count


def _scored(config: RunConfig, split: _Part) -> tuple[_Part, Labels]:
    """Return the first entries of a held-out split, or all, and their classes; InputError where a class has none."""
    part = split.take(slice(config.evaluation.size))
    assert split.labels is not None and part.labels is not None
    classes, scored = len(np.unique(split.labels)), len(np.unique(part.labels))
    require(classes == scored, "size", len(part), f"only {scored} of {classes} classes are among these; give more")
    return part, part.labels


def _tensor(labels: Labels, device: torch.device) -> Tensor:
    return torch.from_numpy(labels.copy()).to(device)


# Images


def read_images(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return the images of a data set and its pool, normalised and past the model's stem unless crops come first."""
    splits = carve(datasets.load(config.data.name, root), config.data.validation_size)
    train, scored = splits.train, splits.test if config.evaluation.split == "test" else splits.validation
    words = f"{splits.name} has no validation split of its own; set data.validation_size"
    require(scored is not None, "split", "validation", words)
    count = _count(config, "train_size", len(train), splits.name, "client images")
    assert scored is not None and train.labels is not None
    scored, labels = _scored(config, scored)
    images = _planes(train.images[:count], device)
    moments_of = _MOMENTS.get(config.data.name) or _moments(train.images[:count])
    mean, std = (torch.tensor(m).view(1, -1, 1, 1).to(device) for m in moments_of)
    module = models.build(config.model, tuple(images.shape[1:]), len(splits.classes), config.seed).to(device)
    stem: nn.Module = nn.Identity()
    if not config.local.augment:  # crops must come before the stem
        stem, module = models.split_stem(module)
        images = stem(normalise(images, mean, std))
    unseen = (scored.images, _pool_images(splits, config, root))
    held_out, pool = (stem(normalise(_planes(part, device), mean, std)) for part in unseen)
    classes, ends, names = train.labels[:count], _tensor(labels, device), len(splits.classes)
    padding, moments = images.new_zeros(images.shape[1]), (mean, std) if config.local.augment else None
    return Inputs(
        ClientData(images, _tensor(classes, device), padding, moments),
        classes,
        HeldOut(held_out, ends, ends, names, names),
        pool,
        module,
        {"data_digest": splits.digest, "classes": list(splits.classes)},
    )


def _moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of the clients' images, in [0, 1]; 1 where all are alike."""
    values = images.reshape(-1, images.shape[-1]).astype(np.float64) / 255
    deviations = values.std(0)
    return tuple(map(float, values.mean(0))), tuple(float(d) if d > 0 else 1.0 for d in deviations)


def _pool_images(splits: Splits, config: RunConfig, root: Path | None) -> NDArray[np.uint8]:
    """Return the first |U| images of the pool in canonical order, mixed where asked."""
    name, (height, width, channels) = config.data.pool, splits.train.images.shape[1:]
    shape, source = (height, width, channels), splits.pool
    if name != "held-out":
        source = datasets.load_unlabeled(name, root, count=config.data.pool_size, shape=shape)
    require(source is not None, "pool", name, f"{splits.name} has no held-out pool; name another data set")
    assert source is not None
    size, own = _count(config, "pool_size", len(source), "the pool", "images"), source.images.shape[1:]
    require(own == shape, "pool", name, f"its images are {own}, those of {splits.name} {shape}")
    return mixed(source.images[:size], config.data.pool_mix)


def _planes(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return bytes `[images, height, width, channels]` as `[images, channels, height, width]` on the device."""
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).contiguous().to(device)


# Texts


def read_texts(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return token ids int64 `[texts, longest]` of a text data set and its pool, and the text model of `config`.

    The vocabulary is made of the clients' texts alone, or it is that of a pretrained encoder. Raises `InputError` for
    settings that only images have.
    """
    _require_for_texts(config)
    splits = datasets.load_texts(config.data.name, root, mask=config.data.mask)
    scored = splits.test if config.evaluation.split == "test" else splits.validation
    scored, labels = _scored(config, scored)
    train = splits.train.take(slice(_count(config, "train_size", len(splits.train), splits.name, "client texts")))
    pool = _pool_texts(splits.pool, config, root)
    assert train.labels is not None
    vocabulary, context, origin = _reader(config, train)
    ids = [torch.from_numpy(vocabulary.encode(part.texts, context)).to(device) for part in (train, scored, pool)]
    facts: dict[str, Any] = {"data_digest": splits.digest, "classes": list(splits.classes)}
    facts |= {"vocabulary_digest": vocabulary.digest, "vocabulary_words": len(vocabulary.words)}
    module = models.build(config.model, datasets.TEXT_SHAPE, len(splits.classes), config.seed).to(device)
    ends, names = _tensor(labels, device), len(splits.classes)
    clients = ClientData(ids[0], _tensor(train.labels, device), _NOTHING)
    held_out = HeldOut(ids[1], ends, ends, names, names)
    return Inputs(clients, train.labels, held_out, ids[2], module, facts | origin)


def _reader(config: RunConfig, train: Texts) -> tuple[Vocabulary | pretrained.Wordpieces, int, dict[str, Any]]:
    """Return what turns texts into ids, the most ids that a text may have, and facts about where it comes from."""
    if config.model.startswith(LORA):
        return pretrained.wordpieces(config.model), pretrained.CONTEXT, pretrained.facts(config)
    size, context = datasets.TEXT_SHAPE
    return Vocabulary.of(train.texts, size), context, {}


def _pool_texts(own: Texts, config: RunConfig, root: Path | None) -> Texts:
    """Return the first |U| texts of the data set's own pool, or of another data set's clients, in canonical order."""
    name = _text_pool(config, "held-out")
    source = own if name == "held-out" else datasets.load_texts(name, root).train.unlabeled()
    return source.take(slice(_count(config, "pool_size", len(source), "the pool", "texts")))


def _require_for_texts(config: RunConfig) -> None:
    require(not config.local.augment, "augment", True, f"crops are for images, {config.data.name} holds texts")
    require(not config.execution.channels_last, "channels_last", True, f"{config.data.name} holds texts; leave it off")
    require(config.data.pool_mix == 0, "pool_mix", config.data.pool_mix, "only images can be mixed; give 0")
    size = config.data.validation_size
    require(size == 0, "validation_size", size, f"{config.data.name} has a validation split of its own; leave it out")


def _text_pool(config: RunConfig, *own: str) -> str:
    """Return the source of U: one of a data set's `own`, or another data set of texts."""
    name, known = config.data.pool, (*own, *(text for text in datasets.TEXTS if text != config.data.name))
    require(name in known, "pool", name, f"{config.data.name} holds texts; choose one of {', '.join(known)}")
    return name


# Running text


def read_tokens(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return running text as token ids int64 `[blocks, context]`, the ids that follow as targets, and a text model.

    The tokens are learnt from the whole training text, of which clients may hold a part; raises `InputError` for
    settings that only images have.
    """
    _require_for_texts(config)
    splits, size, split = datasets.load_running_text(), config.data.vocabulary, config.evaluation.split
    module = models.build(config.model, (size, CONTEXT), size, config.seed, "generation").to(device)
    tokens = datasets.load_tokens(size)
    clients, scored = datasets.load_blocks(size, "train"), datasets.load_blocks(size, split)
    scored, labels = _scored(config, scored)
    clients = clients.take(slice(_count(config, "train_size", len(clients), splits.name, "client blocks of tokens")))
    pool = _pool_blocks(tokens, config, root).to(device)
    assert clients.labels is not None
    facts = {
        "data_digest": splits.digest,
        "classes": list(splits.classes),
        "vocabulary_digest": tokens.digest,
        "vocabulary_size": size,
        "vocabulary_used": len(tokens.ranked),
        "characters_per_token": datasets.characters_per_token(size, split),
    }
    everyone = ClientData(*_shifted(clients, device), _NOTHING)
    held_out = HeldOut(*_shifted(scored, device), _tensor(labels, device), len(splits.classes), size)
    return Inputs(everyone, clients.labels, held_out, pool, module, facts, clients.texts, tokens.decode)


def _shifted(part: Blocks, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what is read and what is to be predicted, each `[blocks, context]`."""
    ids = torch.from_numpy(part.ids).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def _pool_blocks(tokens: Tokens, config: RunConfig, root: Path | None) -> Tensor:
    """Return the first |U| blocks `[pool, context]` of the held-out chapters, or of another data set's texts joined."""
    name = _text_pool(config, "held-out", "self")
    if name == "self":
        return torch.zeros(config.data.pool_size, CONTEXT, dtype=torch.long)
    if name == "held-out":
        found = datasets.load_blocks(config.data.vocabulary, "pool")
    else:
        found = blocks(tokens, Texts((" ".join(datasets.load_texts(name, root).train.unlabeled().texts),)))
    count = _count(config, "pool_size", len(found), "the pool", "blocks of tokens")
    return torch.from_numpy(found.take(slice(count)).ids[:, :-1].copy())
