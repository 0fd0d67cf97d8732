"""Helpers of the commands: parsing of values, and messages about a run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from fedecho.core.checks import require
from fedecho.core.config import RunConfig
from fedecho.core.records import Record

_PROFILES = (
    "smoke, laptop, paper, or that of a block: cifar-small, cifar-smoke, cifar-resnet, resnet-smoke, language, "
    "language-smoke, generation or generation-smoke"
)  # `studies.profiles` has them too, but takes seconds to import
Profile = Annotated[str, tyro.conf.arg(help=f"{_PROFILES}.")]
OptionalProfile = Annotated[str | None, tyro.conf.arg(help=f"{_PROFILES} (if omitted: laptop).")]


def literal(text: str) -> Any:
    """Return the value of a word on the command line: a number, true, false, none, or the word itself."""
    named = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # of nested or unhashable ones
        return text


def values_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `field=value`, e.g. `method.distill.lr=0.1`; raises `InputError` for a seed or a method, and for
    a field given twice."""
    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        require(bool(equals), "set", assignment, "write field=value, e.g. method.distill.lr=0.1")
        require(path not in values, "set", assignment, f"{path} is given twice; give it once")
        require(path != "seed", "set", assignment, "give seeds with --seed or --seeds")
        require(path != "method", "set", assignment, "give the method with --method or --methods")
        values[path] = literal(text)
    return values


def tell(words: str | None) -> None:
    """Print a message to stderr, if there is one."""
    if words is not None:
        print(f"fedecho: {words}", file=sys.stderr)


def require_read(changes: Mapping[str, Any], runs: Sequence[RunConfig]) -> None:
    """Raise `InputError` for a changed setting that no run uses: profiles set some that only certain methods use."""
    for path, value in changes.items():
        reasons = [_unread(run).get(path) for run in runs]
        require(not all(reasons), path, value, f"{reasons[0]}; leave it out")


def _unread(run: RunConfig) -> dict[str, str]:
    """Return dotted field -> why a run does not read it, of what profiles set for all methods alike."""
    method, kind = run.method, run.partition.kind
    pool = () if run.distill is not None or method.plugin else ("data.pool", "data.pool_size", "data.pool_mix")
    drawn = {} if kind == "dirichlet" else {"partition.too_small": f"kind {kind} draws no shares"}
    return dict.fromkeys(pool, f"{method.name} has no use for U") | drawn


def outcome(record: Record) -> str:
    """Say how a run ended."""
    if record.score is None:
        return "diverged"
    last = min(len(record.rows), record.run_config().evaluation.scored)
    return f"score {100 * record.score:.2f} % (mean of the last {last} evaluations)"
