"""Where things lie, independent of the folder a command is called from."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent


def paper() -> Path:
    """Return the folder of records, tables and figures: FEDECHO_PAPER, or `paper/` of the source tree."""
    return Path(os.environ.get("FEDECHO_PAPER", REPOSITORY / "paper"))


def notebooks() -> Path:
    """Return the folder of the notebooks."""
    return REPOSITORY / "notebooks"
