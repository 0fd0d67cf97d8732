"""A manifest survives its file, says the same in the same bytes, and refuses what is not one in a single line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.core.files import json_sha256
from fedecho.report import manifest, notebooks
from fedecho.report.manifest import Manifest, Picture
from fedecho.studies import TABLES
from fedecho.studies.study import Table
from fedecho.studies.writing import manifest_of

TINY = Manifest(
    name="toy", title="A toy & more", caption="50 % of <b>nothing</b> ± 1", profile="smoke", notebook="90_toy",
    command="make tables ONLY=90_toy PROFILE=smoke", record_set="0123456789ab", records=("aa", "bb"),
    commits=("c" * 40,), tables=("toy.md", "toy.csv"), figures=(Picture("toy_bars", "Bars."),),
)  # fmt: skip


def test_file_and_back(tmp_path: Path) -> None:
    path = manifest.write(TINY, tmp_path / "tables")
    first = path.read_bytes()
    assert path == tmp_path / "tables" / "toy.json" and json.loads(first)["figures"] == [
        {"stem": "toy_bars", "caption": "Bars."}
    ]
    assert manifest.read_all(path.parent) == [TINY]
    assert manifest.write(TINY, path.parent).read_bytes() == first and first.endswith(b"}\n")
    assert [p.name for p in path.parent.iterdir()] == ["toy.json"]


def test_order_is_that_of_the_notebooks(tmp_path: Path) -> None:
    for name, notebook in (("a", "20_x"), ("c", "10_x"), ("b", "10_x")):
        manifest.write(dataclasses.replace(TINY, name=name, notebook=notebook), tmp_path)
    assert [found.name for found in manifest.read_all(tmp_path)] == ["b", "c", "a"]
    assert manifest.read_all(tmp_path / "nowhere") == []


def sealed(content: dict[str, Any]) -> str:
    return json.dumps({"sha256": json_sha256(content), **content})


def test_one_that_was_edited_is_refused(tmp_path: Path) -> None:
    path = manifest.write(TINY, tmp_path)
    text = path.read_text(encoding="utf-8")
    for edited in (text.replace("0123456789ab", "0123456789ac"), text.replace("50 %", "60 %")):
        path.write_text(edited, encoding="utf-8")
        with pytest.raises(
            InputError, match="^toy.json: sha256 = .* so it was edited or damaged; make its table again"
        ):
            manifest.read_all(tmp_path)


def test_one_of_an_older_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    with pytest.raises(InputError, match=f"^toy.json: sha256 = None .* remove {path} or make its table again$"):
        manifest.read_all(tmp_path)


GOOD: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(TINY)))


@pytest.mark.parametrize(("change", "field"), [
    ({"title": 3}, "title"), ({"records": "aa"}, "records"), ({"records": [1]}, "records"),
    ({"tables": ["../x.md"]}, "tables"), ({"name": "other"}, "name"), ({"name": "../toy"}, "name"),
    ({"figures": [{"stem": "a/b", "caption": ""}]}, "stem"), ({"figures": [{"stem": "a"}]}, "caption"),
    ({"figures": ["a"]}, "figures"), ({"more": 1}, "more"), ({"notebook": ""}, "notebook"), ({"caption": None}, "cap"),
])  # fmt: skip
def test_what_is_refused_names_file_and_field(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_text(sealed(GOOD | change))
    with pytest.raises(InputError, match=f"^toy.json: {field}") as caught:
        manifest.read_all(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", list(GOOD))
def test_every_field_is_needed(field: str, tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_text(sealed({name: value for name, value in GOOD.items() if name != field}))
    with pytest.raises(InputError, match=f"^toy.json: {field} = None is not usable: it is missing"):
        manifest.read_all(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_what_is_no_manifest_at_all(text: str, tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_text(text)
    with pytest.raises(InputError, match=r"toy\.json") as caught:
        manifest.read_all(tmp_path)
    assert "\n" not in str(caught.value)


def test_described_from_a_frame() -> None:
    frame = pd.DataFrame({"hash": ["bb", "aa", "aa", None], "commit": ["2", None, "1", None], "x": 0})
    study = TABLES["alpha_landscape"]("smoke")
    found = manifest_of(study, Table(frame, frame, frame, "", {"bars": (Figure(), "Bars.")}, (), "feed"), ["toy.md"])
    assert (found.records, found.commits, found.record_set) == (("aa", "bb"), ("1", "2"), "feed")
    assert found.tables == ("toy.md",) and found.figures == (Picture("alpha_landscape_bars", "Bars."),)
    assert found.command == "make tables ONLY=20_ablation_alpha PROFILE=smoke"


@pytest.mark.parametrize("found", manifest.read_all(files.REPOSITORY / "paper" / "tables"), ids=lambda m: m.name)
def test_the_committed_ones_name_files_that_exist(found: Manifest) -> None:
    folder = files.REPOSITORY / "paper"
    wanted = [folder / "tables" / name for name in found.tables]
    wanted += [folder / "figures" / f"{figure.stem}{suffix}" for figure in found.figures for suffix in (".pdf", ".png")]
    assert [path.name for path in wanted if not path.is_file()] == []
    assert all(f"record set {found.record_set}".encode() in path.read_bytes() for path in wanted[len(found.tables) :])
    assert found.notebook in notebooks.catalogue() and found.profile == "laptop"
    text = (folder / "tables" / f"{found.name}.md").read_text()
    assert found.record_set in text or not found.records
    behind = ("Records: none yet.", f"Records: {len(found.records)},", f"measurement {found.record_set}")
    assert any(words in text for words in behind)
    assert all(figure.caption for figure in found.figures)
