"""The `fedecho` command. Exit codes: 0 ok, 1 failed, 2 bad input, 128 + n ended by signal n; an error is one line."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from fedecho.cli.others import bench, data
from fedecho.cli.publish import cite, claims, latex, site
from fedecho.cli.tables import check, tables, tolerances, verify
from fedecho.cli.train import run, sweep, tune
from fedecho.core.checks import InputError
from fedecho.core.processes import Stopped, WorkerDied, stoppable

COMMANDS = (run, sweep, tune, tables, verify, tolerances, claims, check, data, bench, cite, site, latex)


def one_line(text: str) -> str:
    """Return tyro's message box as one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[│╭╮╰╯─]+", " ", plain).split())


def _parsed(args: Sequence[str]) -> Callable[[], None]:
    """Let tyro parse; turn its refusal into one line and exit code 2."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return _parse(args)
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stdout.write(out.getvalue())
            raise
        message = one_line(err.getvalue() or out.getvalue())
        sys.exit(_fail(message or "see fedecho --help", 2))


def _parse(args: Sequence[str]) -> Callable[[], None]:
    call: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
        {command.__name__: _deferred(command) for command in COMMANDS}, args=list(args), prog="fedecho",
        description=__doc__,
    )  # fmt: skip
    return call


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Parse now, work later: a usage error is told apart from one that the work raises."""

    @functools.wraps(command)
    def defer(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return defer


def _fail(message: str, code: int) -> int:
    print(f"fedecho: {message}", file=sys.stderr)
    return code


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from fedecho.report.notebooks import NotebookError

    call = _parsed(sys.argv[1:] if args is None else args)
    try:
        with stoppable():
            call()
    except InputError as error:
        sys.exit(_fail(str(error), error.code))
    except (NotebookError, WorkerDied, OSError) as error:
        sys.exit(_fail(str(error), 1))
    except KeyboardInterrupt as stop:
        ended = stop if isinstance(stop, Stopped) else Stopped()
        sys.exit(_fail(str(ended), ended.code))


if __name__ == "__main__":
    main()
