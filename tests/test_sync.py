"""Files that say the same thing twice must agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from fedecho.cli import main
from fedecho.report import notebooks
from fedecho.report.publish import citation

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RENAMED = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
FROM_PYPI_ONLY = {"pandas-stubs", "scipy-stubs", "types-PyYAML", "types-tqdm", "playwright"} | {
    "axe-playwright-python", "sphinx-mathjax-offline"
}  # fmt: skip


def bounds(requirements: list[str]) -> dict[str, str]:
    split = (re.match(r"([A-Za-z0-9_-]+)(.*)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in split if match}


def required(*extras: str) -> dict[str, str]:
    chosen = [r for extra in extras for r in PROJECT["optional-dependencies"][extra]]
    return bounds([*PROJECT["dependencies"], *chosen])


def test_environment_has_the_bounds_of_pyproject() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = bounds([entry for entry in conda if isinstance(entry, str) and entry != "pip"])
    assert ">=" + listed.pop("python").removeprefix(">=") == PROJECT["requires-python"]
    wanted = {
        RENAMED.get(name, name): bound
        for name, bound in required("notebooks", "docs", "dev").items()
        if name not in FROM_PYPI_ONLY
    }
    assert listed == wanted


def test_constraints_pin_every_direct_dependency_within_its_bound() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^ ]+", line) for line in lines)
    pins = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in lines}
    for name, bound in required("notebooks", "docs", "dev", "language", "cluster", "pools", "generate").items():
        least = bound.removeprefix(">=") or "0"
        assert [int(n) for n in re.findall(r"\d+", pins[name.lower()])] >= [int(n) for n in least.split(".")]
    assert (pins["torch"], pins["torchvision"]) == ("2.13.0", "0.28.0")


def test_the_lowest_versions_are_the_bounds() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text().splitlines()
        return dict(line.split("==") for line in lines if not line.startswith("#"))

    bound = {name: least.removeprefix(">=") for name, least in required("notebooks", "docs", "dev").items() if least}
    pinned = {name: pins("constraints.txt")[name] for name in ("torch", "torchvision")}
    assert pins("constraints-lowest.txt") == bound | pinned


def test_makefile_has_every_promised_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    promised = "help setup tables test smoke lab paper html browser verify bench check clean"
    assert set(promised.split()) <= targets


def test_ci_calls_targets_that_exist_and_installs_what_make_paper_names() -> None:
    makefile, script = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    called = re.findall(r"\bmake ([a-z]+)", re.sub(r"#.*", "", script))
    assert {"setup", "test", "lint", "check", "smoke", "paper", "browser"} <= set(called)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in called)
    (packages,) = re.findall(r"apt-get install (latexmk[^\"]*)\"", makefile)
    assert packages in script and packages in workflow and "bash .ci/run" in workflow


def test_make_alone_prints_help() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True)
    assert "make tables" in done.stdout and "make test" in done.stdout


def test_jupyterlab_starts_for_root_too() -> None:
    command = ["make", "-C", str(ROOT), "lab", "--dry-run", "--assume-old=.venv/.ready"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "jupyter lab" in said and ("--allow-root" in said) == (os.geteuid() == 0)


def test_citation_file_agrees_with_the_package() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = cff["preferred-citation"]
    names = tuple(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert (cff["title"], paper["title"], names) == (citation.TITLE, citation.PAPER_TITLE, citation.PAPER_AUTHORS)
    assert cff["version"] == PROJECT["version"] and cff["license"] == PROJECT["license"] == "MIT"


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_readme_names_the_two_commands() -> None:
    assert {"make tables", "make test"} <= set(readme_commands())


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith(("make ", "fedecho "))])
def test_readme_commands_exist(command: str) -> None:
    words = [word for word in command.split() if "=" not in word]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert words[1] in {function.__name__ for function in main.COMMANDS}


def test_modules_that_are_run_by_name_exist() -> None:
    paths = [ROOT / "README.md", *(ROOT / "fedecho").rglob("*.md"), *(ROOT / "fedecho").rglob("*.py")]
    named = {name for path in paths for name in re.findall(r"python -m (fedecho[a-z_.]*[a-z])", path.read_text())}
    assert len(named) >= 5 and [name for name in sorted(named) if find_spec(name) is None] == []


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "paper/RESULTS.md",
        "paper/PROTOCOL.md",
        "paper/PAPER_SCALE.md",
        "paper/CHECKLIST.md",
        "CHANGELOG.md",
        "notebooks/README.md",
    ],
)
def test_links_of_a_page_point_to_files_and_to_what_they_name_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    broken = [link for link in links if not found(ROOT / page, *link.partition("#")[::2])]
    assert links and broken == []


def found(page: Path, path: str, anchor: str) -> bool:
    """Tell whether a link's file exists, and a page of ours has its anchor: a heading, or an id that is set."""
    target = (page.parent / path).resolve() if path else page
    if not anchor or target.suffix != ".md":
        return target.exists()
    text = target.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return anchor in slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_the_list_of_notebooks_is_whole() -> None:
    named = re.findall(r"^\| \[(\w+)\]", (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert named == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_list_of_what_only_takes_is_whole() -> None:
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"`ONLY` is (.*?) or a notebook's name", text, re.DOTALL)
    assert sorted(re.split(r",\s", named)) == sorted(["all", *notebooks.GROUPS])


@pytest.mark.parametrize("path", sorted((ROOT / "fedecho").rglob("*.py")), ids=lambda p: p.name)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


def test_run_fits_on_a_screen() -> None:
    import inspect

    from fedecho.learning.experiment import run

    assert len(inspect.getsource(run).splitlines()) <= 60


def test_public_face_is_small_and_importable() -> None:
    code = "import fedecho; print(*[n for n in fedecho.__all__])"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert 5 <= len(names) <= 15


def test_what_an_archive_is_told_agrees_with_the_citation_file() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    told = json.loads((ROOT / ".zenodo.json").read_text())
    assert [told[name] for name in ("title", "version", "license", "keywords")] == [
        cff[name] for name in ("title", "version", "license", "keywords")
    ]
    assert told["description"] == cff["abstract"]
    assert told["creators"] == cff["authors"]
    assert [told["related_identifiers"][0]["identifier"]] == [
        i["value"] for i in cff["preferred-citation"]["identifiers"]
    ]


@pytest.mark.parametrize("path", ["Dockerfile", ".github/workflows/pages.yml", ".github/workflows/ci.yml"])
def test_recipes_call_targets_that_exist(path: str) -> None:
    text = (ROOT / path).read_text()
    called = {*re.findall(r"\bmake ([a-z]+)", text), *re.findall(r'"([a-z]+)"', text.partition('CMD ["make"')[2])}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert called and called <= targets


def test_the_changelog_names_the_version_and_its_day() -> None:
    day = yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"]
    assert f"## {PROJECT['version']} – {day}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_clone_that_would_change_the_ends_of_lines_has_the_same_bytes(tmp_path: Path) -> None:
    """As under Windows: digests are taken of bytes, and records, tables and bundled files are compared by them."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    shutil.copy(ROOT / ".gitattributes", ours)
    (ours / "table.csv").write_bytes(b"1,2\n3,4\n")
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true"]
    for command in (["init"], ["add", "."], ["commit", "-m", "all"], ["clone", str(ours), str(theirs)]):
        subprocess.run(["git", *options, *command], cwd=ours, check=True, capture_output=True)
    assert (theirs / "table.csv").read_bytes() == b"1,2\n3,4\n"


def test_what_is_promised_names_tests_that_there_are() -> None:
    text = (ROOT / "paper" / "PROMISES.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 10
    for path, name in named:
        assert (ROOT / path).is_file() and f"def {name}" in (ROOT / path).read_text(encoding="utf-8"), (path, name)


@pytest.mark.parametrize("tagged", [False, True])
def test_a_version_without_a_tag_is_released_with_its_part_of_the_changelog(tmp_path: Path, tagged: bool) -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["release"]
    (tmp_path / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > said\n')
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 2.0.0\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 2.0.0 – today\nnew\n\n### Fixed\nwrong\n\n## 1.0.0 – once\nold\n"
    )
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    env = {**os.environ, **who, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    first = ["git init -q", "git commit -q --allow-empty -m all", *["git tag v2.0.0"] * tagged]
    for line in (*first, job["steps"][-1]["run"]):
        subprocess.run(["bash", "-e", "-c", line], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert (tmp_path / "said").is_file() is not tagged
    if not tagged:
        assert (tmp_path / "said").read_text().startswith("release\ncreate\nv2.0.0\n--target\n")
        assert (tmp_path / "notes.md").read_text() == "new\n\n### Fixed\nwrong\n\n"
