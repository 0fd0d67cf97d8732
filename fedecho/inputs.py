"""What a run reads, as tensors: images as they were, texts as ids of the clients' own words, or of wordpieces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedecho import data as datasets
from fedecho import models, pretrained
from fedecho.config import LORA, RunConfig, require
from fedecho.data.canonical import Labels
from fedecho.data.texts import Texts
from fedecho.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Inputs:
    """A data set on the device, in canonical order, and the model that reads it."""

    train: Tensor
    """What the clients hold together, one entry a label."""
    labels: Labels
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


def read_texts(config: RunConfig, device: torch.device, root: Path | None = None) -> Inputs:
    """Return token ids int64 `[texts, longest]` of a text data set and its pool, and the text model of `config`.

    The vocabulary is made of the clients' texts alone, or it is that of a pretrained encoder. Raises `InputError` for
    settings that only images have.
    """
    require(not config.local.augment, "augment", True, f"crops are for images, {config.data.name} holds texts")
    require(config.data.pool_mix == 0, "pool_mix", config.data.pool_mix, "only images can be mixed; give 0")
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
    name, size = config.data.pool, config.data.pool_size
    known = ("held-out", *(text for text in datasets.TEXTS if text != config.data.name))
    require(name in known, "pool", name, f"{config.data.name} holds texts; choose one of {', '.join(known)}")
    source = own if name == "held-out" else datasets.load_texts(name, root).train.unlabeled()
    require(size <= len(source), "pool_size", size, f"the pool has {len(source)} texts")
    return source.take(slice(size))
