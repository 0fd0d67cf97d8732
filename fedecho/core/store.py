"""Where records are kept: one JSON file each, written whole, checked and read once."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fedecho.core.checks import InputError, require
from fedecho.core.files import write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C")
R = TypeVar("R", bound="DataclassInstance")


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
    """Raises `InputError` for a record that cannot be what its config gave."""

    def path(self, folder: Path, config: C) -> Path:
        """Return the file of a config's record in `folder`."""
        return folder / f"{self.name(config)}.json"

    def save(self, record: R, path: Path) -> None:
        """Write a record so that a reader sees all of it or nothing."""
        write_whole(path, dumps(record))

    def load(self, path: Path) -> R:
        """Read a record, once for each state of its file; raises `InputError` for a file that is not one."""
        path, state = path.resolve(), path.stat()
        record: R = _read(self, path, state.st_mtime_ns, state.st_size)
        return record

    def find(self, folder: Path, config: C) -> R | None:
        """Return the record of `config` in `folder` if it is there; raises `InputError` for another in its place."""
        path = self.path(folder, config)
        if not path.is_file():
            return None
        record = self.load(path)
        own = self.own_name(record) == path.stem
        require(own, "record", str(path), "it belongs to another run; delete it to run again")
        return record

    def all(self, folder: Path) -> Iterator[R]:
        """Yield the records in `folder`, by file name."""
        require(folder.is_dir(), "records", str(folder), "no such folder; run `fedecho sweep` first")
        return (self.load(path) for path in sorted(folder.glob("*.json")))


@functools.lru_cache(maxsize=4096)
def _read(store: Store[Any, Any], path: Path, modified: int, size: int) -> Any:
    try:
        record = store.kind(**json.loads(path.read_text()))
        store.check(record)
        return record
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"it cannot be read ({type(error).__name__}: {error}); delete it to run again"
        raise InputError("record", str(path), reason) from None


def dumps(record: DataclassInstance) -> str:
    """Return a record as JSON text, a line for each of its `rows` if it has any; no NaN or infinity."""
    values = asdict(record)
    rows = values.pop("rows", None)
    head = json.dumps(values, indent=1, allow_nan=False)
    if rows is None:
        return f"{head}\n"
    lines = ",\n  ".join(json.dumps(row, allow_nan=False) for row in rows)
    head = head.removesuffix("\n}")
    return f'{head},\n "rows": [\n  {lines}\n ]\n}}\n'
