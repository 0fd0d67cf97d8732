"""Modules of this folder that are commands, `python -m fedecho.data.pack` and the scripts that made the bundle."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedecho.core.checks import InputError, one_line
from fedecho.core.files import expanded


def command(*actions: Callable[..., Any], args: Sequence[str] | None = None) -> Any:
    """Call the one of `actions` that the command line names, or the only one, and return what it returns.

    Bad input is one line and exit code 2. What the options are and mean is in the signatures and docstrings.
    """
    import tyro  # here, for it takes a quarter of a second

    calls: Any = {action.__name__: deferred(action) for action in actions}
    one, several = tyro.cli, tyro.extras.subcommand_cli_from_dict
    try:
        return parsed(lambda: several(calls, args=args) if len(calls) > 1 else one(*calls.values(), args=args))()
    except (InputError, OSError) as error:
        print(f"fedecho: {error}", file=sys.stderr)
        sys.exit(2)


def parsed(parse: Callable[[], Any]) -> Any:
    """Return what tyro parsed; its refusal becomes one line and exit code 2."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return parse()
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stdout.write(plainer(out.getvalue()))
            raise
        message = unboxed(err.getvalue() or out.getvalue())
        print(f"fedecho: {one_line(message or 'see --help')}", file=sys.stderr)
        sys.exit(2)


def deferred(action: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """Parse now, work later: a usage error is told apart from one that the work raises, and what it prints is seen."""

    @functools.wraps(action)
    def defer(*places: Any, **given: Any) -> Callable[[], Any]:
        named = {name: _expanded(value, name) for name, value in given.items()}
        return functools.partial(action, *(_expanded(place, "path") for place in places), **named)

    return defer


def _expanded(value: Any, name: str) -> Any:
    """Return a path with its `~` as the home folder, also inside a tuple; a shell leaves the one in --records=~/x."""
    if isinstance(value, tuple):
        return tuple(_expanded(each, name) for each in value)
    return expanded(value, name) if isinstance(value, Path) else value


def plainer(text: str) -> str:
    """Return tyro's help without defaults that are nothing: texts say what is done if such an option is omitted."""
    aligned = re.sub(r"\{None\}\|(\S+  )", r"\1       ", text)  # a column stays where it was
    return re.sub(r"\s*\(default:\s+(None)?\)", "", aligned.replace("{None}|", ""))


def unboxed(text: str) -> str:
    """Return tyro's message as one line: what stands under its title, up to the next rule."""
    boxless = re.sub(r"\x1b\[[0-9;]*m|[│╰╯]", "", text)
    parts = re.split(r"(?m)^\s*(?:╭.*|[-─]{8,})\s*$", boxless)
    said = [" ".join(part.split()) for part in parts if part.strip()]
    return said[0 if "╭" in text or len(said) == 1 else 1] if said else ""
