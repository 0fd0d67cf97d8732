"""Modules of this folder that are commands, `python -m fedecho.data.pack` and the scripts that made the bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from fedecho.core.checks import InputError


def command(*actions: Callable[..., Any], args: Sequence[str] | None = None) -> Any:
    """Call the one of `actions` that the command line names, or the only one, and return what it returns.

    Bad input is one line and exit code 2. What the options are and mean is in the signatures and docstrings.
    """
    import tyro  # here, for it takes a quarter of a second

    try:
        if len(actions) == 1:
            return tyro.cli(actions[0], args=args)
        return tyro.extras.subcommand_cli_from_dict({action.__name__: action for action in actions}, args=args)
    except (InputError, OSError) as error:
        print(f"fedecho: {error}", file=sys.stderr)
        sys.exit(2)
