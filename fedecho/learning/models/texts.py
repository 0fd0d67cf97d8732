"""The models of the language tasks: small Transformers, an encoder that classifies and a decoder that generates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedecho.core.checks import require
from fedecho.core.settings import TaskKind
from fedecho.data.tokens import PADDING

GROUP = 4
"""Words whose embeddings are summed into one position: a run takes a third of the time."""
_SCALE = 0.1
"""Standard deviation of the initial embeddings: at torch's 1, plain SGD hardly moves them away from noise."""
_GAIN = 10.0
"""Word embeddings are stored divided by this: a word occurs so rarely that plain SGD, at a rate that suits the other
layers, would hardly train it; so its step is _GAIN^2 times as large."""


class Block(nn.Module):
    """One layer of a Transformer: attention and a feed-forward net, each added to what it reads (pre-norm)."""

    def __init__(self, width: int, heads: int) -> None:
        """Make a layer for vectors of `width` numbers."""
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Return `[batch, positions, width]`; positions that are not `present` `[batch, positions]` are not read.

        Without `present`, each position reads itself and those before it.
        """
        batch, positions, width = x.shape
        parts = self.attend(self.before_attention(x)).view(batch, positions, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = None if present is None else present[:, None, None, :]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        x = x + self.mix(read.transpose(1, 2).reshape(batch, positions, width))
        fed: Tensor = x + self.feed(self.before_feed(x))
        return fed


class TextEncoder(nn.Module):
    """A Transformer encoder over groups of words, the mean over its positions, a linear layer; no dropout."""

    def __init__(self, vocabulary: int, context: int, classes: int, width: int = 32, heads: int = 2, layers: int = 1):
        """Make a model for texts of up to `context` ids below `vocabulary`."""
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.words.weight, std=_SCALE / _GAIN)
        self.place = nn.Parameter(0.02 * torch.randn(-(-context // GROUP), width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `[batch, classes]` of `ids` int64 `[batch, length]`, 0 where there is no word."""
        if lacking := -ids.shape[1] % GROUP:
            ids = F.pad(ids, (0, lacking), value=PADDING)
        there = ids != PADDING
        words = _GAIN * self.words(ids) * there.unsqueeze(-1)
        x = words.view(len(ids), -1, GROUP, words.shape[-1]).sum(2) / GROUP**0.5
        x = x + self.place[: x.shape[1]]
        present = there.view(len(ids), -1, GROUP).any(-1)
        for block in self.blocks:
            x = block(x, present)
        counted = present.unsqueeze(-1)
        mean = (x * counted).sum(1) / counted.sum(1)
        logits: Tensor = self.head(self.norm(mean))
        return logits


def text_encoder(shape: tuple[int, ...], classes: int, width: int = 32, layers: int = 1) -> nn.Module:
    """Return the encoder for `shape` = (vocabulary, context): 137,318 parameters at 4,000 x 64 and 6 classes."""
    vocabulary, context = shape
    return TextEncoder(vocabulary, context, classes, width, max(2, width // 64), layers)


_ZIPF = 5.0
"""The k-th most frequent token makes up about 1 / (k + 5) of a text (Zipf and Mandelbrot; fitted to the novels)."""
RANKS, TABLE = (32, 16, 8), 2**18
"""Rank r of the embeddings: the largest for which their table has at most 2^18 entries."""


class TextDecoder(nn.Module):
    """A causal Transformer over tokens; no dropout.

    Embeddings are factorised to a low rank r (Lan et al. 2020), and input and output are tied, with the same table E
    `[vocabulary, r]`: logits = h W E^T - log(k + 5), for the token of frequency rank k = 0, 1, ...

    The last term is a unigram prior: to learn that ids are ranked by frequency would take a third of the rounds.
    """

    def __init__(self, vocabulary: int, context: int, width: int = 48, heads: int = 2, layers: int = 1):
        """Make a model for up to `context` ids below `vocabulary`."""
        super().__init__()
        rank = next(rank for rank in RANKS if vocabulary * rank <= TABLE or rank == RANKS[-1])
        self.tokens = nn.Parameter(_SCALE * torch.randn(vocabulary, rank))
        self.widen, self.narrow = nn.Linear(rank, width, bias=False), nn.Linear(width, rank)
        self.place = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `[batch, length, vocabulary]` of `ids` int64 `[batch, length]`; InputError for too many."""
        length, context = ids.shape[1], len(self.place)
        require(length <= context, "tokens", length, f"the model reads {context} in a row; give no more")
        # Read at unit size: by plain SGD it gets to a perplexity of 71, not 82, in as many steps.
        x = self.widen(F.embedding(ids, self.tokens) / _SCALE) + self.place[:length]
        for block in self.blocks:
            x = block(x)
        ranks = torch.arange(len(self.tokens), device=ids.device)
        return F.linear(self.narrow(self.norm(x)), self.tokens, -torch.log(ranks + _ZIPF))


def text_decoder(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the decoder for `shape` = (vocabulary, context), whose classes are the vocabulary.

    55,696 parameters at 1,000 ids and 32 tokens, 283,512 at 32,768.
    """
    vocabulary, context = shape
    return TextDecoder(vocabulary, context)


def example(shape: tuple[int, ...], count: int, device: str) -> Tensor:
    """Return an input of `count` entries for a model of `shape`: images or full texts, of zeros or ones."""
    if len(shape) == 2:
        return torch.ones(count, shape[1], dtype=torch.long, device=device)
    return torch.zeros(count, *shape, device=device)


SIZES = ((4, 1), (16, 1), (64, 2), (128, 4), (256, 6), (512, 6), (768, 8), (1024, 12), (2048, 30))
"""Width and layers of the larger and smaller encoders `text-encoder-<width>x<layers>`: 17 thousand parameters to a
billion, for what a server costs."""
TEXT_MODELS: dict[TaskKind, dict[str, Callable[[tuple[int, ...], int], nn.Module]]] = {
    "classification": {
        "text-encoder": text_encoder,
        **{
            f"text-encoder-{width}x{layers}": partial(text_encoder, width=width, layers=layers)
            for width, layers in SIZES
        },
    },
    "generation": {"text-decoder": text_decoder},
}
