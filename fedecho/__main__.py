"""The `fedecho` command, also as `python -m fedecho`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being loaded ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command has a line of its own to say
    from fedecho.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
