"""Where things lie, independent of the folder a command is called from."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent


def paper() -> Path:
    """Return the folder of records, tables and figures: FEDECHO_PAPER, or `paper/` of the source tree."""
    return Path(os.environ.get("FEDECHO_PAPER", REPOSITORY / "paper"))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing, and a failure leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{path.name}.{os.getpid()}.partial"
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def notebooks() -> Path:
    """Return the folder of the notebooks."""
    return REPOSITORY / "notebooks"
