"""What the models of a generative study wrote, to be read, and yardsticks that need no model."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from fedecho.core.config import RunConfig
from fedecho.learning.task import Task, prepare
from fedecho.studies.comparison import Trained


def markdown(study: Trained, setting: str, delay: str, seed: int = 0) -> str:
    """Return a Markdown list: for each method, how its model goes on from the first prompt (nothing without a record).

    The samples were drawn at the end of the run and are part of its record; `seed`: whose run.
    """
    lines = []
    for cell in study.asked():
        if (cell.setting, cell.delay, cell.config.seed) == (setting, delay, seed):
            record = study.find(cell.config)
            written = record.facts.get("samples", []) if record is not None else []
            lines += [f"* **{cell.method}**: *{_literal(s['prompt'])}* {_literal(s['text'])}" for s in written[:1]]
    return "\n".join(lines) or "No run has a record yet."


def _literal(text: str) -> str:
    """Return what Markdown shows as `text`, without control characters: a young model writes anything."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", re.sub(r"[\x00-\x1f\x7f]", "", text))


PRIOR = 50.0
"""How many times the frequencies alone count beside what followed a token, in `bigram`; not tuned."""


def unigram_perplexity(config: RunConfig) -> float:
    """Return the perplexity on the held-out text of knowing only how frequent each token is with all clients together.

    Every token counts once more than it occurs, so that none is impossible. A yardstick: a model that reads its context
    has to stay below.
    """
    task = prepare(config, torch.device("cpu"))
    nats = -_frequencies(task, config.data.vocabulary).log()[task.held_out.labels.flatten()].mean()
    return float(nats.exp())


def bigram(config: RunConfig) -> tuple[float, float]:
    """Return next-token accuracy and perplexity of counting which token followed which, with all clients together.

    P(b | a) = (n(a, b) + PRIOR p(b)) / (n(a) + PRIOR). What no federation is needed for: counts can simply be added.
    """
    task, size = prepare(config, torch.device("cpu")), config.data.vocabulary
    pairs = torch.cat([client.images.flatten() * size + client.labels.flatten() for client in task.clients])
    counts = torch.bincount(pairs, minlength=size * size).view(size, size).double()
    rows = (counts + PRIOR * _frequencies(task, size)) / (counts.sum(1, keepdim=True) + PRIOR)
    before, after = task.held_out.images.flatten(), task.held_out.labels.flatten()
    right = (rows.argmax(1)[before] == after).double().mean()
    return float(right), float((-rows[before, after].log().mean()).exp())


def _frequencies(task: Task, size: int) -> Tensor:
    """Return how probable each token is `[vocabulary]`, by one more than its count."""
    seen = torch.cat([client.labels.flatten() for client in task.clients])
    counts = torch.bincount(seen, minlength=size).double() + 1
    return counts / counts.sum()
