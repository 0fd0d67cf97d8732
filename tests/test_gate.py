"""What a client may send that lies or fails: it is refused before any method sees it, counted, and training goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedecho.core.config import config_hash
from fedecho.core.settings import Protocol
from fedecho.learning import experiment
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.gate import Gate
from fedecho.learning.methods import CA2FL, FedBuff, FedEcho
from fedecho.simulation.schedule import Job, Round, Schedule
from tests.conftest import an_update, weights
from tests.test_experiment import tiny

JOBS = [Job(float(t), client, base, 0.0, t) for t, (client, base) in enumerate([(0, 0), (1, 0), (0, 1)])]
PLAN = Schedule(
    tuple(Round(t, (job,), frozenset()) for t, job in enumerate(JOBS)), (Job(9.0, 2, 0, 0.0, 3),), (0, 0, 0)
)


def gate(done: int = 0, **changes: Any) -> Gate:
    return Gate(PLAN, Protocol(3, 2, 1, 3, **changes), weights(0.0, 0.0), done)


def sent(delta: Any = (0.3, 0.4), client: Any = 0, base: Any = 0, now: int = 0, **changes: Any) -> Update:
    return replace(an_update(list(delta), client=client, base=base, now=now), **changes)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (sent(), None),
        (sent(client=2), None),  # still at work, as far as the server knows, and so it may send
        (sent(client=-1), "client"),
        (sent(client=3), "client"),
        (sent(client=True), "client"),
        (sent(client=0.0), "client"),
        (sent(base=1), "version"),  # it will be sent only after this round
        (sent(base=1, now=1), None),
        (sent(base=-1), "version"),
        (sent(client=1, base=1, now=1), "version"),  # another client has that
        (sent(base=7), "version"),
        (sent(delta=[0.1]), "shape"),
        (replace(sent(), delta=torch.tensor(0.1)), "shape"),
        (replace(sent(), buffers=torch.zeros(1)), "shape"),
        (replace(sent(), delta=[0.1, 0.2]), "shape"),  # type: ignore[arg-type]
        (replace(sent(), delta=torch.zeros(2, dtype=torch.float64)), "dtype"),
        (replace(sent(), delta=torch.zeros(2, dtype=torch.long)), "dtype"),
        (sent(delta=[float("nan"), 0.0]), "failed"),
    ],
)
def test_what_is_let_in(update: Update, reason: str | None) -> None:
    assert gate().refuse(update, JOBS[0]) == reason


def test_an_upload_arrives_once() -> None:
    at = gate()
    assert at.refuse(sent(), JOBS[0]) is None
    assert at.refuse(sent(), JOBS[1]) == "repeated"
    assert at.refuse(sent(client=1, now=1), JOBS[1]) == "repeated"  # what came for the job in its place was refused
    assert at.refuse(sent(base=1, now=2), JOBS[2]) is None
    assert gate(done=1).refuse(sent(now=1), JOBS[1]) == "repeated"  # also after a run was continued


def test_an_upload_in_the_place_of_another_uses_up_its_own_once_it_is_let_in() -> None:
    at = gate()
    assert at.refuse(sent(delta=[0.1], client=1), JOBS[0]) == "shape"  # refused, it takes nothing of client 1
    assert at.refuse(sent(client=1, now=1), JOBS[1]) is None
    assert at.refuse(sent(client=2, now=2), JOBS[2]) is None
    assert at.refuse(sent(client=2, now=2), JOBS[2]) == "repeated"


@pytest.mark.parametrize(("limit", "reason"), [(None, None), (0.51, None), (0.49, "norm")])
def test_the_limit_on_the_norm_is_off_by_default(limit: float | None, reason: str | None) -> None:
    assert gate(max_delta_norm=limit).refuse(sent(), JOBS[0]) == reason  # |(0.3, 0.4)| = 0.5
    huge = gate(max_delta_norm=limit).refuse(sent(delta=[1e30, 1e30]), JOBS[0])
    assert huge == (None if limit is None else "norm")


def test_a_failed_upload_is_let_in_only_if_that_is_asked_for() -> None:
    assert gate(reject_failed=False).refuse(sent(delta=[float("inf"), 0.0]), JOBS[0]) is None
    assert gate(reject_failed=False, max_delta_norm=1.0).refuse(sent(delta=[float("nan"), 0.0]), JOBS[0]) == "norm"


LIES: dict[str, Callable[[Update], Update]] = {
    "shape": lambda update: replace(update, delta=torch.tensor(0.1)),
    "client": lambda update: replace(update, client=-1),
    "version": lambda update: replace(update, base_version=10**6),
    "norm": lambda update: replace(update, delta=1e30 * torch.ones_like(update.delta)),
    "failed": lambda update: replace(update, delta=float("nan") * update.delta),
}


@pytest.mark.parametrize("reason", LIES)
@pytest.mark.parametrize("method", [FedBuff(), CA2FL(), FedEcho()], ids=lambda method: method.name)
def test_a_liar_changes_nothing_but_the_count(reason: str, method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes in place of every third upload, the run is the one in which those were not finite."""
    config = tiny(method)
    config = replace(config, protocol=replace(config.protocol, max_delta_norm=1e6))
    honest = experiment.work

    def run(lie: Callable[[Update], Update]) -> Any:
        def work(task: Any, config: Any, method: Any, state: Any, rnd: Round, job: Job, version: Any) -> Update:
            update = honest(task, config, method, state, rnd, job, version)
            return lie(update) if job.number % 3 == 0 else update

        monkeypatch.setattr(experiment, "work", work)
        return experiment.run(config)

    lied, failed = run(LIES[reason]), run(LIES["failed"])
    column = f"rejected_{reason}"
    counted = sum(row.get(column, 0) for row in lied.rows)
    assert counted == (0 if reason == "failed" else sum(row["rejected"] for row in lied.rows))
    assert sum(row["rejected"] for row in lied.rows) > 0 and lied.status == "done"
    assert [{**row, column: None} for row in lied.rows] == [{**row, column: None} for row in failed.rows]


def test_the_limit_is_part_of_a_run_and_its_absence_is_not() -> None:
    config = tiny(FedBuff())
    limited = replace(config, protocol=replace(config.protocol, max_delta_norm=5.0))
    assert config_hash(limited) != config_hash(config)
    assert config_hash(replace(limited, protocol=replace(limited.protocol, max_delta_norm=None))) == config_hash(config)


def test_weights_of_another_size_are_no_model() -> None:
    assert Gate(PLAN, Protocol(3, 2, 1, 3), Weights(torch.zeros(3), torch.zeros(0))).refuse(sent(), JOBS[0]) == "shape"
