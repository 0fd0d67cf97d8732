"""Where records are kept: one JSON file each, written whole, and believed only if its digest and content are sound.

In the file a record has two fields more: `schema`, and `sha256`, the SHA-256 of the canonical JSON of all the others.
The digest keeps out accidents, an edit or a bad disk. It keeps out no forger, who can write a digest, too: against that
records are recomputed (`fedecho verify`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fedecho.core.checks import InputError, Kind, RecordError, check, kinds, kinds_of, require
from fedecho.core.files import file_sha256, is_file, json_sha256, write_whole

SCHEMA = 1
"""Bumped whenever the fields of records change."""
C = TypeVar("C")
R = TypeVar("R")
_REPORTED = kinds(reported=float | int | None)["reported"]


@dataclass(frozen=True, eq=False)
class Store(Generic[C, R]):
    """Records of one kind: how they are named, written, read, and told from what is no such record."""

    kind: type[R]
    """The dataclass that they are."""
    name: Callable[[C], str]
    """What the file of a config's record is called, without the suffix."""
    own_name: Callable[[R], str]
    """What the file of a record has to be called."""
    check: Callable[[R], None]
    """Raises `InputError` for a record whose fields are of their types but cannot be what its config gave."""

    def path(self, folder: Path, config: C) -> Path:
        """Return the file of a config's record in `folder`."""
        return folder / f"{self.name(config)}.json"

    def save(self, record: R, path: Path) -> None:
        """Write a record so that a reader sees all of it or nothing."""
        write_whole(path, dumps(record))

    def load(self, path: Path) -> R:
        """Read a record, once for each state of its file; raises `RecordError` unless it can be believed."""
        require(is_file(path), "record", str(path), "it is no file that can be read")
        path, state = path.resolve(), path.stat()
        record: R = _read(self, path, state.st_mtime_ns, state.st_size)
        return record

    def find(self, folder: Path, config: C) -> R | None:
        """Return the record of `config` in `folder` if it is there; raises `RecordError` unless it can be believed."""
        path = self.path(folder, config)
        if not path.is_file():
            return None
        record = self.load(path)
        if self.own_name(record) != path.stem:
            raise RecordError("record", str(path), "it belongs to another run; delete it, or run it again with --fresh")
        return record


@functools.lru_cache(maxsize=16384)  # more than are committed, 80 kB each: a pass over more than it holds finds none
def _read(store: Store[Any, Any], path: Path, modified: int, size: int) -> Any:
    try:
        return _opened(store, json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once))
    except InputError as error:
        if error.field == "plugin":  # nothing is wrong with the record: whoever reads it has to name the code
            raise InputError(error.field, error.value, f"{path.name}: {error.allowed}") from None
        reason = f"its {error.field} is {error.value!r:.80}: {error.allowed}"
    except Exception as error:  # nested too deeply, of another type: content may fail in any way
        reason = f"it cannot be read ({type(error).__name__}: {error})"
    raise RecordError("record", str(path), f"{reason}; delete it, or run it again with --fresh")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; one that has a name twice shows a reader another value than it gives."""
    names = [name for name, _ in pairs]
    twice = {name for name in names if names.count(name) > 1} if len({*names}) < len(names) else ()
    require(not twice, "name", sorted(twice), "each stands once in an object")
    return dict(pairs)


def _opened(store: Store[C, R], content: dict[str, Any]) -> R:
    """Return the record that a file's content is; raises an error that says what is wrong with it otherwise."""
    stated = content.pop("sha256", None)
    found = json_sha256(content)
    require(stated == found, "sha256", stated, f"its content gives {found}, so it was edited or damaged")
    schema, known = content.pop("schema", None), kinds_of(store.kind)
    require(schema == SCHEMA, "schema", schema, f"this version reads {SCHEMA}")
    check(content, known)
    record = store.kind(**content)
    store.check(record)
    return record


def check_rows(rows: list[dict[str, Any]], known: dict[str, Kind]) -> None:
    """Raise `InputError` for a row without one of the `known` fields; any other is a number, or none."""
    for place, row in enumerate(rows):
        check(row, dict.fromkeys(row, _REPORTED) | known, f"rows[{place}].")


def dumps(record: Any) -> str:
    """Return a record as JSON text, a line for each of its `rows` if it has any; no NaN or infinity."""
    content = {"schema": SCHEMA, **asdict(record)}
    content = {"schema": SCHEMA, "sha256": json_sha256(content), **content}
    rows = content.pop("rows", None)
    head = json.dumps(content, indent=1, allow_nan=False)
    if rows is None:
        return f"{head}\n"
    lines = ",\n  ".join(json.dumps(row, allow_nan=False) for row in rows)
    head = head.removesuffix("\n}")
    return f'{head},\n "rows": [\n  {lines}\n ]\n}}\n'


# Files that have no room for their own digest: it is in `SHA256SUMS` of their folder, as `sha256sum --check` reads it.

SUMS = "SHA256SUMS"


def seal(*paths: Path) -> None:
    """Note the digests of files, all in one folder or below it, in the list of the first (`_list`)."""
    folder, place = paths[0].parent, _list(paths[0])
    found = _listed(place) | {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    write_whole(place, "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items())))


def require_sealed(path: Path) -> Path:
    """Return a file that is as it was sealed; raises `RecordError` for one that was edited or damaged."""
    stated = _listed(_list(path)).get(path.name)
    if stated is None:
        raise RecordError("file", str(path), f"{SUMS} beside it has no digest of it; make it again")
    if stated != file_sha256(path):
        words = f"its digest is not the one in {SUMS}, so it was edited or damaged"
        raise RecordError("file", str(path), f"{words}; make it again, or if it was meant: sha256sum FILE")
    return path


def _list(path: Path) -> Path:
    """Return the list that a file is in: that of `name-profile.json` is apart, for nobody else's may change with it."""
    _, dash, profile = path.stem.partition("-")
    return path.with_name(f"{SUMS}{dash}{profile}")


def _listed(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
