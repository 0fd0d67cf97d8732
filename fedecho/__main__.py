"""`python -m fedecho` is the `fedecho` command."""

from __future__ import annotations

from fedecho.cli.main import main

main()
