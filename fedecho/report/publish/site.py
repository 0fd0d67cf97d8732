"""The pages in `paper/site`, readable offline: Furo and MyST-NB make them of what `pages` gives, in `build/web`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.report.publish import pages


def build(profile: str = "laptop", planned: Sequence[Any] = ()) -> Path:
    """Write the pages of a profile whole and return the front page; nothing is run; `planned`: every study.

    Raises `InputError` for a manifest or a list of claims that cannot be used, or pages that Sphinx warns of.
    """
    final, work = files.folder_of("site", profile), files.paper().parent / "build" / "web" / profile
    _settle(pages.sources(profile, planned), work / "source")
    _sphinx(work)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=files.paper(), prefix="site.", suffix=".partial") as name:
        made = Path(name) / "site"
        shutil.copytree(work / "html", made, ignore=shutil.ignore_patterns(".buildinfo*", "_sources"))
        _replace(final, made)
    return final / "index.html"


def _settle(wanted: dict[str, str | bytes], folder: Path) -> None:
    """Make a folder hold these files alone; what is the same stays untouched, so that Sphinx does not read it again."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if str(path.relative_to(folder)) not in wanted and not ("api.rst" in wanted and _documents(path)):
            path.unlink()
    for name, content in wanted.items():
        data = content.encode() if isinstance(content, str) else content
        if not (folder / name).is_file() or (folder / name).read_bytes() != data:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _documents(path: Path) -> bool:
    """Tell whether a file is what Sphinx wrote for a module that is still there."""
    module = files.REPOSITORY.joinpath(*path.stem.split("."))
    return path.parent.name == "api" and (module.is_dir() or module.with_suffix(".py").is_file())


def _sphinx(work: Path) -> None:
    """Make HTML of the sources, in a process of its own: Sphinx imports the package that it documents."""
    whole = work / "whole"
    if not whole.is_file():  # a call that was stopped or failed left pages of which its search index knows a part
        shutil.rmtree(work / "html", ignore_errors=True)
    whole.unlink(missing_ok=True)
    command = ["-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-j", "auto", "-d", work / "doctrees"]
    made = subprocess.run(
        [sys.executable, *map(str, [*command, work / "source", work / "html"])], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(files.REPOSITORY), "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    said = (made.stderr.strip() or made.stdout.strip() or f"exit code {made.returncode}").splitlines()
    said = [line for line in said if "WARNING: " in line or "ERROR: " in line] or said  # not those of Python
    require(made.returncode == 0, "site", said[0], f"Sphinx has {len(said)} lines to say; mend {work / 'source'}")
    whole.touch()


def _replace(final: Path, made: Path) -> None:
    """Put the new pages where the old ones were; pages of other profiles inside them stay."""
    for page in final.glob("*/index.html"):
        if (page.parent / "_static").is_dir():
            page.parent.rename(made / page.parent.name)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(made, final)
