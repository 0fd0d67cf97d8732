"""What lies behind a table and its figures, as a small JSON file beside them: title, captions, records, command.

It carries the SHA-256 of its own content, as a record does. The pages, the paper and `fedecho cite` are made from
these files, so that a new study appears in all three by itself.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedecho.core.checks import Checked, InputError, require
from fedecho.core.config import from_dict
from fedecho.core.files import json_sha256, write_whole

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Picture(Checked):
    """A figure: `stem`.pdf and .png in the folder of figures."""

    stem: str
    caption: str

    def validate(self) -> None:
        """Raise `InputError` for a stem that is no plain file name."""
        _require_words("stem", [self.stem])


@dataclass(frozen=True)
class Manifest(Checked):
    """What one notebook wrote to the folders of tables and figures."""

    name: str
    """Also the file's stem; `<name>.md`, .tex and .csv are the table."""
    title: str
    caption: str
    profile: str
    notebook: str
    command: str
    """What makes it again."""
    record_set: str
    """12 hex digits, `summary.record_set_hash`."""
    records: tuple[str, ...]
    """Hashes of the records' configs, sorted."""
    commits: tuple[str, ...]
    """Full hashes of the commits that made the records, sorted; what is not known is not there."""
    tables: tuple[str, ...]
    """File names in the folder of tables."""
    figures: tuple[Picture, ...]

    def validate(self) -> None:
        """Raise `InputError` for a name that is no plain file name."""
        for field in ("name", "profile", "notebook", "record_set"):
            _require_words(field, [getattr(self, field)])
        for field in ("records", "commits", "tables"):
            _require_words(field, getattr(self, field))


def _require_words(field: str, words: Iterable[str]) -> None:
    # These become file names, links and labels; nothing in them may lead elsewhere or need escaping in a path.
    for word in words:
        known = _WORD.fullmatch(word) is not None
        require(known, field, word, "give words of letters, digits, dots, dashes and underscores")


def command(notebook: str, profile: str) -> str:
    """Return the command that makes the tables and figures of a notebook at a profile's scale."""
    return f"make tables ONLY={notebook}" + ("" if profile == "laptop" else f" PROFILE={profile}")


def write(manifest: Manifest, folder: Path) -> Path:
    """Write a manifest whole to `folder`/<name>.json, the same bytes each time, and return the file."""
    path = folder / f"{manifest.name}.json"
    content = dataclasses.asdict(manifest)
    sealed = {"sha256": json_sha256(content), **content}
    write_whole(path, json.dumps(sealed, indent=1, ensure_ascii=False) + "\n")
    return path


def read_all(folder: Path) -> list[Manifest]:
    """Return the manifests of a folder of tables, by notebook and name; a folder that is not there holds none.

    Raises `InputError` naming the file and the field for one that cannot be used.
    """
    return sorted((read(path) for path in folder.glob("*.json")), key=lambda found: (found.notebook, found.name))


def read(path: Path) -> Manifest:
    """Return the manifest in a file; raises `InputError` as `read_all` does."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        require(isinstance(content, dict), "manifest", content, "give its fields and their values")
        stated, digest = content.pop("sha256", None), json_sha256(content)
        words = f"its content gives {digest}, so it was edited or damaged; make its table again"
        require(stated is not None, "sha256", None, f"an older version wrote it; remove {path} or make its table again")
        require(stated == digest, "sha256", stated, words)
        found = from_dict(Manifest, content)
        require(found.name == path.stem, "name", found.name, "it has to be the file's own")
    except InputError as error:
        raise InputError(f"{path.name}: {error.field}", error.value, error.allowed) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("manifest", path.name, f"it is not JSON ({error}); make its table again") from None
    return found
