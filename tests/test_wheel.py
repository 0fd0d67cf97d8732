"""The package outside a clone: what works there, where its records go, and what says that it needs the clone."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "fedecho")
SMALL = ["--profile", "smoke", "--set", "protocol.rounds=2", "data.train_size=500", "partition.min_size=1",
         "partition.alpha=1.0"]  # fmt: skip
CALLS = """
import sys
from fedecho.cli import main

for line in sys.argv[1:]:
    try:
        main.main(line.split())
        code = 0
    except SystemExit as stop:
        code = stop.code
    print(f"\\n= {code} {line}", flush=True)
    print(f"= {code} {line}", file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package built with what is here, without a network, and installed into an empty folder."""
    home = tmp_path_factory.mktemp("wheel")
    (home / "source").mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, home / "source" / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(home / "target"), str(home / "source")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return home / "target"


def meekly() -> None:
    """Let a process that root starts write where permissions say that it may, and nowhere else."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def call(installed: Path, here: Path, *lines: str, **variables: str) -> dict[str, tuple[int, str, str]]:
    """Return exit code, output and errors of commands that are called in a folder, one after the other."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDECHO_")}
    environment = kept | {"PYTHONPATH": str(installed), "MPLBACKEND": "Agg", **variables}
    done = subprocess.run(
        [sys.executable, "-c", CALLS, *lines], cwd=here, env=environment, capture_output=True, text=True, check=True,
        preexec_fn=meekly if sys.platform == "linux" else None,
    )  # fmt: skip
    found, texts = {}, {"out": done.stdout, "err": "\n" + done.stderr}
    for line in lines:
        parts = {}
        for name, text in texts.items():
            said, _, rest = text.partition(f" {line}\n")
            parts[name], _, code = said.rpartition("\n= ")
            texts[name] = "\n" + rest
        found[line] = (int(code), parts["out"], parts["err"])
    return found


def test_what_trains_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    run = " ".join(["run", "--method", "fedbuff", *SMALL])
    compare = " ".join(["compare", "--methods", "fedbuff", "fedavg", *SMALL, "--seeds", "0", "1", "--jobs", "1"])
    before = {path for path in installed.parent.rglob("*") if "__pycache__" not in path.parts}
    done = call(installed, tmp_path, run, f"{run} --records mine", compare, "data list", "--version")
    assert [code for code, _, _ in done.values()] == [0] * 5, done
    (made,) = (path for path in tmp_path.rglob("fedbuff-*.json") if path.match("records/smoke/runs/*"))
    assert f"record: {made}" in done[run][1]
    assert [path.name for path in (tmp_path / "mine").rglob("*.json")] == [made.name]
    assert '"commit": null' in made.read_text()  # not that of a project around the environment
    (table,) = (tmp_path / "build").rglob("compare.md")
    assert f"table: {table}" in done[compare][1] and "| FedBuff |" in done[compare][1]
    assert "fashion-mnist      present" in done["data list"][1] and "fedecho 0" in done["--version"][1]
    assert {path for path in installed.parent.rglob("*") if "__pycache__" not in path.parts} == before
    elsewhere = call(installed, tmp_path, run, FEDECHO_HOME=str(tmp_path / "home"))
    assert elsewhere[run][0] == 0 and len([*(tmp_path / "home").rglob("records/smoke/runs/*.json")]) == 1


def test_what_needs_the_clone_says_so(installed: Path, tmp_path: Path) -> None:
    lines = ["tables", "site", "check", "claims", "latex", "golden", "tables --only 20_ablation_alpha"]
    for line, (code, out, err) in call(installed, tmp_path, *lines).items():
        assert code == 2 and out.strip() == "", line
        (said,) = err.strip().splitlines()
        assert said.startswith(f"fedecho: {line.split()[0]} = ") and "clone" in said
    assert [*tmp_path.iterdir()] == []


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A clone that nobody may write to, without records."""
    clone = tmp_path / "clone"
    for name in ("pyproject.toml", "notebooks", "fedecho", "paper/claims.toml"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name)
    places = [clone, *clone.rglob("*")]
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    yield clone
    for place in places:
        place.chmod(place.stat().st_mode | 0o200)


@pytest.mark.skipif(sys.platform != "linux", reason="root may write anywhere but where it cannot give that up")
def test_a_clone_that_is_read_only_works_with_a_folder_elsewhere(sealed: Path, tmp_path: Path) -> None:
    run = " ".join(["run", "--method", "fedbuff", *SMALL])
    compare = " ".join(["compare", "--methods", "fedbuff", "fedavg", *SMALL, "--seeds", "0", "1", "--jobs", "1"])
    before = sorted(sealed.rglob("*"))
    for line, (code, out, err) in call(sealed, tmp_path, run, compare, "tables", "claims", "site").items():
        assert code == 2 and out.strip() == "", (line, err)
        assert err.strip().splitlines()[-1].endswith("it must be a folder that can be read and written"), line
    named = call(sealed, tmp_path, f"{run} --records mine")
    assert [code for code, _, _ in named.values()] == [0], named
    done = call(sealed, tmp_path, run, compare, FEDECHO_HOME=str(tmp_path / "home"))
    assert [code for code, _, _ in done.values()] == [0, 0], done
    assert len([*(tmp_path / "home" / "paper").rglob("records/smoke/runs/*.json")]) == 1
    assert len([*(tmp_path / "mine").rglob("*.json")]) == len([*(tmp_path / "home" / "build").rglob("compare.md")]) == 1
    assert sorted(sealed.rglob("*")) == before
