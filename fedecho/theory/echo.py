"""FedEcho on many trajectories at a time: the library's `echo`, bank, teacher, loss, alpha and clip; and teachers that
mislead.

Each point of the pool stands in the bank once for each trajectory. Only the loop over the Q steps is written for a
batch, so that alpha and the clip stay each trajectory's own; a test holds it to `distill.distil` one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.core.settings import Execution, Local
from fedecho.learning.distill import Teacher, clip_factor, distillation_loss, mixing_weight, pool_batches
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.methods import Method, Server
from fedecho.learning.methods.base import around
from fedecho.learning.teacher import normalised_entropy
from fedecho.simulation.schedule import Schedule
from fedecho.theory.softmax import Softmax

Teaches = Literal["adversarial", "random"]


class Batch(FlatModel):
    """The models of many trajectories: inputs `[trajectories * points, features]` stand trajectory by trajectory."""

    def __init__(self, objective: Softmax, x0: Tensor, pool: int) -> None:
        """Hold the models `x0` `[trajectories, P]` as one vector; `pool` is |U|, taken in one batch."""
        self.objective, self.count = objective, len(x0)
        self.execution = Execution(inference_batch=len(x0) * pool)
        self.module = torch.nn.Module()
        self.params, self.buffers = x0.reshape(-1).clone(), x0.new_empty(0)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits `[trajectories * points, classes]`; those of a single input are the first trajectory's."""
        count = self.count if len(images) > 1 else 1
        params, inputs = self.params.view(self.count, -1)[:count], images.view(count, -1, images.shape[-1])
        return self.objective.logits(params, inputs).flatten(0, 1)


def server(objective: Softmax, pool: Tensor, x0: Tensor, seed: int) -> Server:
    """Return what `echo` needs, for trajectories from `x0` `[trajectories, P]` and one pool `[U, features]` for all."""
    model, inputs = Batch(objective, x0, len(pool)), pool.repeat(len(x0), 1)
    return Server(model, inputs, Schedule((), (), ()), Local(), seed, distil=distil_batch)


def distil_batch(
    model: FlatModel, x: Weights, pool: Tensor, taught: Teacher, settings: Distillation, rng_key: tuple[int, int]
) -> tuple[Weights, dict[str, float]]:
    """Take the Q steps of `distill.distil` in every trajectory; all see the same minibatches of U."""
    assert isinstance(model, Batch)
    # A bank keeps single precision; trajectories are simulated in double.
    parts = pool, taught.probs.double(), taught.labels, taught.entropy.double()
    inputs, probs, labels, entropy = (part.view(model.count, -1, *part.shape[1:]) for part in parts)
    # Of a trajectory there is one mean entropy and one norm: for each alone is what the library calls for each number.
    each = _of_single_numbers(settings)
    params, clips, norms = x.params.view(model.count, -1), [], []
    for batch in _batches(inputs.shape[1], settings, rng_key):
        level = entropy[:, batch] if settings.alpha_scope == "sample" else entropy[:, batch].mean(1, keepdim=True)
        alpha = mixing_weight(level, each).expand_as(entropy[:, batch]).flatten()
        params = params.detach().requires_grad_()
        student = model.objective.logits(params, inputs[:, batch]).flatten(0, 1)
        soft, hard = probs[:, batch].flatten(0, 1), labels[:, batch].flatten()
        loss = distillation_loss(student, soft, hard, alpha, settings) * model.count  # the sum of the trajectories' own
        (gradient,) = torch.autograd.grad(loss, params)
        norm = gradient.norm(dim=1, keepdim=True)
        factor, _ = clip_factor(norm, each)
        params = params.detach() - settings.lr * factor * gradient
        clips.append((factor < 1).double().mean())
        norms.append(norm.mean())
    metrics = {"clipped": float(torch.stack(clips).mean()), "gradient_norm": float(torch.stack(norms).mean())}
    return Weights(params.reshape(-1), x.buffers), metrics


def _batches(count: int, settings: Distillation, rng_key: tuple[int, int]) -> list[Tensor] | list[slice]:
    """Return the library's minibatches; in which order the whole pool is summed makes no difference."""
    if settings.batch_size >= count:
        return [slice(None)] * settings.steps
    return pool_batches(count, settings, rng_key)


@cache
def _of_single_numbers(settings: Distillation) -> Distillation:
    scope: dict[str, Any] = {"alpha_scope": "sample"} if settings.alpha_min < settings.alpha_max else {}
    clip: dict[str, Any] = {} if settings.clip_norm is None else {"clip": "value"}
    return replace(settings, **scope, **clip)


@dataclass(frozen=True, eq=False)
class Misled:
    """The inner method's state, the number of closed rounds and the last one's metrics."""

    inner: Any
    round: int
    metrics: dict[str, float]


def misled(inner: Method[Any], server: Server, settings: Distillation, teaches: Teaches) -> Method[Misled]:
    """Return `inner` followed by distillation from a teacher that has never seen a client.

    adversarial: what the model with the signs of x* turned predicts, ten times as sure; the same in every round.
    random: what a model drawn anew in each round predicts.
    """
    model_of = misleading(server, teaches)

    def close_round(state: Misled, x: Weights) -> tuple[Misled, Weights]:
        inner_state, x_hat = inner.close_round(state.inner, x)
        taught = _taught(server, model_of(state.round))
        x_new, metrics = server.distil(server.model, x_hat, server.pool, taught, settings, (server.seed, state.round))
        return Misled(inner_state, state.round + 1, metrics), x_new

    method = Method(
        lambda x0, clients: Misled(inner.init(x0, clients), 0, {}),
        lambda state, update: replace(state, inner=inner.receive(state.inner, update)),
        close_round,
        metrics=lambda state: state.metrics,
    )
    return around(inner, method)


def misleading(server: Server, teaches: Teaches) -> Callable[[int], Tensor]:
    """Return round -> the parameters `[trajectories * P]` of a teacher that misleads."""
    assert isinstance(server.model, Batch)
    wrong = -10 * server.model.objective.stationary().repeat(server.model.count)
    if teaches == "adversarial":
        return lambda t: wrong
    return lambda t: torch.from_numpy(3 * stream(server.seed, "theory-teacher", t).standard_normal(len(wrong)))


@torch.no_grad()
def _taught(server: Server, params: Tensor) -> Teacher:
    server.model.load(Weights(params, params.new_empty(0)))
    probs = server.model.logits(server.pool).softmax(-1)
    return Teacher(probs, probs.argmax(-1), normalised_entropy(probs))
