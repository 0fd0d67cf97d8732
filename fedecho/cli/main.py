"""The `fedecho` command. Exit codes: 0 ok, 1 failed, 2 bad input, 128 + n ended by signal n.

Errors are printed in one line; only bugs print a traceback.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from fedecho.cli.others import bench, data
from fedecho.cli.publish import cite, claims, latex, site
from fedecho.cli.records import compare, show
from fedecho.cli.sweep import sweep
from fedecho.cli.tables import check, golden, tables, tolerances, verify
from fedecho.cli.train import run, tune
from fedecho.core.checks import InputError, NotebookError, near, one_line, require, require_known
from fedecho.core.processes import Stopped, stoppable
from fedecho.core.provenance import code, refused
from fedecho.core.workers import WorkerDied
from fedecho.data.command import deferred, parsed

COMMANDS = (
    run, show, compare, sweep, tune, tables, verify, tolerances, claims, check, golden, data, bench, cite, site, latex,
)  # fmt: skip


def gathered(args: Sequence[str]) -> list[str]:
    """Merge the values of a repeated list option; raise `InputError` for any other option that is given twice, and for
    a command or an option that there is not.

    The parser would silently keep the last one only, and answer an unknown command with the help of all.
    """
    if args[:1] in (["-h"], ["--help"]):
        return list(args)
    known, lists = _options(args[0] if args else "")
    options, words = dict[str, list[str]](), list[str]()
    head = words
    for word in args:
        require(word != "" and not re.fullmatch("--[^=]+=", word), "argument", word, "it is empty; leave it out")
        if not word.startswith("--") or word == "--help":
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        require_known("option", [flag.replace("_", "-")], known)
        name = flag.removeprefix("--").replace("-", "_")
        if name not in lists:
            require(name not in options, name, word, "it is given twice; give it once")
            options[name] = words = [word]
        else:
            words = options.setdefault(name, [flag])
            words += [value] if equals else []
    return [*head, *(word for words in options.values() for word in words)]


def _options(name: str) -> tuple[list[str], set[str]]:
    """Return a command's options and the names of those that are lists; raises `InputError` for an unknown command."""
    commands = {command.__name__: inspect.signature(command).parameters for command in COMMANDS}
    meant = near("run" if name == "train" else name, [*commands, "--help", "--version"])  # as many would call it
    require(name in commands, "command", name, f"choose one of {', '.join(commands)}{meant}")
    hints = {each: str(known.annotation) for each, known in commands[name].items()}
    flags = [f"--{each}".replace("_", "-") for each, hint in hints.items() if "Positional" not in hint]
    negated = [f"--no-{each}" for each, hint in hints.items() if hint == "bool"]
    return [*flags, *negated], {each for each, hint in hints.items() if "tuple[" in hint}


def version() -> str:
    """Return the package's version and, in a clone, the commit."""
    made = code()
    commit = "commit unknown (git refused)" if refused() else f"commit {made['commit'][:7]}" if made["commit"] else ""
    about = f" ({commit}{', with changes' if made['dirty'] else ''})" if commit else ""
    return f"fedecho {importlib.metadata.version('fedecho')}{about}"


def _parsed(args: Sequence[str]) -> Callable[[], None]:
    read = tyro.extras.subcommand_cli_from_dict
    known: Any = {command.__name__: deferred(command) for command in COMMANDS}
    about = f"{__doc__} `fedecho --version` says which one this is."
    call: Callable[[], None] = parsed(lambda: read(known, args=list(args), prog="fedecho", description=about))
    return call


def _fail(message: str, code: int) -> int:
    print(f"fedecho: {one_line(message)}", file=sys.stderr)
    return code


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    _speak_utf8()
    if list(args) == ["--version"]:
        print(version())
        return
    try:
        with stoppable():
            _parsed(gathered(args))()
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; nothing more can be written to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + getattr(signal, "SIGPIPE", 13))
    except InputError as error:
        sys.exit(_fail(str(error), error.code))
    except (NotebookError, WorkerDied, OSError) as error:
        sys.exit(_fail(str(error), 1))
    except KeyboardInterrupt as stop:
        ended = stop if isinstance(stop, Stopped) else Stopped()
        sys.exit(_fail(str(ended), ended.code))
    except Exception:
        traceback.print_exc()
        sys.exit(_fail(f"this is a bug of {version()}; please report it, with the lines above", 1))


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale: names and tables are not only ASCII, and file names may not be valid text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
