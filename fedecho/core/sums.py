"""Digests of files that have no room for their own, in `SHA256SUMS` of their folder, as `sha256sum --check` reads it.

Like the digest in a record it keeps out accidents: an edit, a bad disk, a merge. Whoever means to forge a number can
write a digest, too; against that records are recomputed (`fedecho verify`).
"""

from __future__ import annotations

from pathlib import Path

from fedecho.core.checks import RecordError
from fedecho.core.files import file_sha256, write_whole

NAME = "SHA256SUMS"


def seal(*paths: Path) -> None:
    """Note the digests of files, all in one folder or below it, in the list of the first (`_list`)."""
    folder, place = paths[0].parent, _list(paths[0])
    found = _listed(place) | {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    write_whole(place, "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items())))


def require_sealed(path: Path) -> Path:
    """Return a file that is as it was sealed; raises `RecordError` for one that was edited or damaged."""
    stated = _listed(_list(path)).get(path.name)
    if stated is None:
        raise RecordError("file", str(path), f"{NAME} beside it has no digest of it; make it again")
    if stated != file_sha256(path):
        words = f"its digest is not the one in {NAME}, so it was edited or damaged"
        raise RecordError("file", str(path), f"{words}; make it again, or if it was meant: sha256sum FILE")
    return path


def _list(path: Path) -> Path:
    """Return the list that a file is in: that of `name-profile.json` is apart, for nobody else's may change with it."""
    _, dash, profile = path.stem.partition("-")
    return path.with_name(f"{NAME}{dash}{profile}")


def _listed(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
