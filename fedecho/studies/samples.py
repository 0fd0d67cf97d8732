"""What the models of a generative study wrote, to be read."""

from __future__ import annotations

import torch

from fedecho.config import RunConfig
from fedecho.records import find
from fedecho.studies import Results
from fedecho.task import prepare


def markdown(results: Results, setting: str, delay: str, seed: int = 0) -> str:
    """Return a Markdown list: for each method, how its model goes on from the first prompt (nothing without a record).

    The samples were drawn at the end of the run and are part of its record; `seed`: whose run.
    """
    lines = []
    for cell in results.cells:
        if (cell.setting, cell.delay, cell.config.seed) == (setting, delay, seed):
            record = find(results.folder, cell.config)
            written = record.facts.get("samples", []) if record is not None else []
            lines += [f"* **{cell.method}**: *{first['prompt']}* {first['text']}" for first in written[:1]]
    return "\n".join(lines) or "No run has a record yet."


def unigram_perplexity(config: RunConfig) -> float:
    """Return the perplexity on the held-out text of knowing only how frequent each token is with all clients together.

    Every token counts once more than it occurs, so that none is impossible. A yardstick: a model that reads its context
    has to stay below.
    """
    task = prepare(config, torch.device("cpu"))
    seen = torch.cat([client.labels.flatten() for client in task.clients])
    counts = torch.bincount(seen, minlength=config.data.vocabulary).double() + 1
    nats = -(counts / counts.sum()).log()[task.held_out.labels.flatten()].mean()
    return float(nats.exp())
