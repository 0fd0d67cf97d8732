"""Modules of this folder that are commands, `python -m fedecho.data.pack` and the scripts that made the bundle."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fedecho.core.checks import InputError


def command(*actions: Callable[..., Any], args: Sequence[str] | None = None) -> Any:
    """Call the one of `actions` that the command line names, or the only one, and return what it returns.

    Bad input is one line and exit code 2. What the options are and mean is in the signatures and docstrings.
    """
    import tyro  # here, for it takes a quarter of a second

    out = io.StringIO()
    try:
        with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
            call = tyro.extras.subcommand_cli_from_dict if len(actions) > 1 else tyro.cli
            known: Any = {action.__name__: action for action in actions} if len(actions) > 1 else actions[0]
            return call(known, args=args)
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stdout.write(out.getvalue())
            raise
        print(f"fedecho: {unboxed(out.getvalue())}", file=sys.stderr)
        sys.exit(2)
    except (InputError, OSError) as error:
        print(f"fedecho: {error}", file=sys.stderr)
        sys.exit(2)


def unboxed(text: str) -> str:
    """Return tyro's message in a box as one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[│╭╮╰╯─]+", " ", plain).split())
