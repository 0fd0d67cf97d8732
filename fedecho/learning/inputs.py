"""What a run reads, as tensors: images as they were, texts as ids of words, of tokens or of wordpieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedecho import data as datasets
from fedecho.core.checks import require
from fedecho.core.config import LORA, RunConfig
from fedecho.data.splits import Labels
from fedecho.data.texts import Texts
from fedecho.data.tokens import CONTEXT, Blocks, Tokens, Vocabulary, blocks
from fedecho.learning import models
from fedecho.learning.models import pretrained


@dataclass(frozen=True, eq=False)
class Inputs:
    """A data set on the device, in canonical order, and the model that reads it."""

    train: Tensor
    """What the clients hold together, one entry a label."""
    labels: Labels
    """The class of each, by which it is dealt to the clients."""
    held_out: Tensor
    held_out_labels: Labels
    pool: Tensor
    """U."""
    module: nn.Module
    padding: Tensor
    """See `ClientData`, as for `moments`."""
    moments: tuple[Tensor, Tensor] | None
    facts: dict[str, Any]
    """For the record: the data's digest and classes, for texts the vocabulary's digest and size, and what a pretrained
    encoder was."""
    targets: tuple[Tensor, Tensor] | None = None
    """What the model is to say of each entry of `train` and `held_out`, where that is not its class."""
    groups: Labels | None = None
    """The chapter of each entry of `train`, where there are any."""
    decode: Callable[[Iterable[int]], str] | None = None
    """Token ids -> text, where the model writes text."""


def read_texts(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return token ids int64 `[texts, longest]` of a text data set and its pool, and the text model of `config`.

    The vocabulary is made of the clients' texts alone, or it is that of a pretrained encoder. Raises `InputError` for
    settings that only images have.
    """
    _require_for_texts(config)
    splits = datasets.load_texts(config.data.name, root, mask=config.data.mask)
    scored = splits.test if config.evaluation.split == "test" else splits.validation
    count = config.data.train_size or len(splits.train)
    require(count <= len(splits.train), "train_size", count, f"{splits.name} has {len(splits.train)} client texts")
    train, pool = splits.train.take(slice(count)), _pool_texts(splits.pool, config, root)
    assert train.labels is not None and scored.labels is not None
    vocabulary, context, origin = _reader(config, train)
    ids = [torch.from_numpy(vocabulary.encode(part.texts, context)).to(device) for part in (train, scored, pool)]
    return Inputs(
        train=ids[0],
        labels=train.labels,
        held_out=ids[1],
        held_out_labels=scored.labels,
        pool=ids[2],
        module=models.build(config.model, datasets.TEXT_SHAPE, len(splits.classes), config.seed).to(device),
        padding=torch.empty(0),
        moments=None,
        facts={
            "data_digest": splits.digest,
            "classes": list(splits.classes),
            "vocabulary_digest": vocabulary.digest,
            "vocabulary_words": len(vocabulary.words),
            **origin,
        },
    )


def _reader(config: RunConfig, train: Texts) -> tuple[Vocabulary | pretrained.Wordpieces, int, dict[str, Any]]:
    """Return what turns texts into ids, the most ids that a text may have, and facts about where it comes from."""
    if config.model.startswith(LORA):
        return pretrained.wordpieces(config.model), pretrained.CONTEXT, pretrained.facts(config)
    size, context = datasets.TEXT_SHAPE
    return Vocabulary.of(train.texts, size), context, {}


def _pool_texts(own: Texts, config: RunConfig, root: Path | None) -> Texts:
    """Return the first |U| texts of the data set's own pool, or of another data set's clients, in canonical order."""
    name, size = _text_pool(config, "held-out"), config.data.pool_size
    source = own if name == "held-out" else datasets.load_texts(name, root).train.unlabeled()
    require(size <= len(source), "pool_size", size, f"the pool has {len(source)} texts")
    return source.take(slice(size))


def _require_for_texts(config: RunConfig) -> None:
    require(not config.local.augment, "augment", True, f"crops are for images, {config.data.name} holds texts")
    require(config.data.pool_mix == 0, "pool_mix", config.data.pool_mix, "only images can be mixed; give 0")
    size = config.data.validation_size
    require(size == 0, "validation_size", size, f"{config.data.name} has a validation split of its own; leave it out")


def _text_pool(config: RunConfig, *own: str) -> str:
    """Return the source of U: one of a data set's `own`, or another data set of texts."""
    name, known = config.data.pool, (*own, *(text for text in datasets.TEXTS if text != config.data.name))
    require(name in known, "pool", name, f"{config.data.name} holds texts; choose one of {', '.join(known)}")
    return name


def read_tokens(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return running text as token ids int64 `[blocks, context]`, the ids that follow as targets, and a text model.

    The tokens are learnt from the whole training text, of which clients may hold a part; raises `InputError` for
    settings that only images have.
    """
    _require_for_texts(config)
    splits, size = datasets.load_running_text(), config.data.vocabulary
    module = models.build(config.model, (size, CONTEXT), size, config.seed, "generation").to(device)
    tokens = datasets.load_tokens(size)
    held = config.evaluation.split
    clients, scored = datasets.load_blocks(size, "train"), datasets.load_blocks(size, held)
    count = config.data.train_size or len(clients)
    require(count <= len(clients), "train_size", count, f"{splits.name} has {len(clients)} client blocks of tokens")
    clients = clients.take(count)
    (train, following), (held_out, ends) = (_shifted(part, device) for part in (clients, scored))
    assert clients.labels is not None and scored.labels is not None
    return Inputs(
        train=train,
        labels=clients.labels,
        held_out=held_out,
        held_out_labels=scored.labels,
        pool=_pool_blocks(tokens, config, root).to(device),
        module=module,
        padding=torch.empty(0),
        moments=None,
        facts={
            "data_digest": splits.digest,
            "classes": list(splits.classes),
            "vocabulary_digest": tokens.digest,
            "vocabulary_size": size,
            "vocabulary_used": len(tokens.ranked),
            "characters_per_token": datasets.characters_per_token(size, held),
        },
        targets=(following, ends),
        groups=clients.texts,
        decode=tokens.decode,
    )


def _shifted(part: Blocks, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what is read and what is to be predicted, each `[blocks, context]`."""
    ids = torch.from_numpy(part.ids).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def _pool_blocks(tokens: Tokens, config: RunConfig, root: Path | None) -> Tensor:
    """Return the first |U| blocks `[pool, context]` of the held-out chapters, or of another data set's texts joined."""
    name, size = _text_pool(config, "held-out", "self"), config.data.pool_size
    if name == "self":
        return torch.zeros(size, CONTEXT, dtype=torch.long)
    if name == "held-out":
        found = datasets.load_blocks(config.data.vocabulary, "pool")
    else:
        found = blocks(tokens, Texts((" ".join(datasets.load_texts(name, root).train.unlabeled().texts),)))
    require(size <= len(found), "pool_size", size, f"the pool has {len(found)} blocks of tokens")
    return torch.from_numpy(found.take(size).ids[:, :-1].copy())
