"""The ledger of claims as a table to read and as JSON: every claim with its test, the verdict and both numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedecho.core import files
from fedecho.report import captions, render
from fedecho.report.summary import NOT_STATED, VERDICTS, Verdict
from fedecho.studies import claims
from fedecho.studies.claims import Claim
from fedecho.studies.claims.evidence import LEVEL, RULE, Shelf, corrected, measure
from fedecho.studies.profiles import BLOCKS

_SOURCES = {"paper": "Claims of the paper", "package": "Claims of this package",
            "package on CIFAR-10": "Claims of this package on CIFAR-10, at a reduced scale",
            "package on language": "Claims of this package on language",
            "package on running text": "Claims of this package on running text",
            "package on running text, asked later":
            "Claims of this package on running text, asked after the first results"}  # fmt: skip
_COLUMNS = {
    "score": "test accuracy",
    "straggler": "test accuracy on the classes that only stragglers own",
    "clipped": "share of clipped distillation steps",
}
_SENTENCES = {
    "greater": "{what} of {a} minus that of {b}",
    "at_least": "{what} of {a} minus that of {b}, against a deficit of {margin:g} point",
    "gap": "{what} lost from {easier} to {delay}: {b}'s loss minus {a}'s",
    "shortfall": "how far the {what} stays below that of {reference}: {b}'s shortfall minus {a}'s",
    "below": "{what} of {a}, against {limit:g} %",
    "equal": "{what} of {a} and of {b}: equal to the last digit on every seed",
    "cost": "wall-clock seconds of server work per round of {a}; nothing to test",
    "theory": "{what}: {a}",
    "untested": "no test yet",
}
"""Kind of test -> what is looked at."""


@dataclass(frozen=True)
class Line:
    """One line of the ledger, as claims.json has it."""

    id: str
    claim: str
    source: str
    profile: str
    test: str
    """What is compared, as a sentence."""
    verdict: Verdict
    paper_value: str | None
    """The paper's own numbers, as its summary gives them."""
    our_value: str | None
    """With unit, 95 % interval and the number of seeds; positive = in the claimed direction."""
    p: float | None
    """Of a lead against none, Holm-corrected over the lines of the same source; none without a test."""
    notebook: str
    table: str | None
    note: str


def evaluate(profile: str, path: Path | None = None) -> list[Line]:
    """Test every claim on the records of a profile; `path` replaces paper/claims.toml, nothing is trained or written.

    Raises `InputError` for an entry that cannot be used, before any record is read.
    """
    found = claims.read(profile, path)
    beside = tuple(files.records_dir(scales[profile]) for scales in BLOCKS.values())
    shelf = Shelf(profile, files.records_dir(profile), beside)
    out: dict[str, Line] = {}
    for source in _SOURCES:
        family = [claim for claim in found if claim.source == source]
        measured = [measure(claim, shelf) for claim in family]
        for claim, about, (verdict, p, note) in zip(family, measured, corrected(measured), strict=True):
            out[claim.line] = _line(claim, profile, verdict, about.value, p, note)
    return [out[claim.line] for claim in found]


def _line(claim: Claim, profile: str, verdict: Verdict, value: str | None, p: float | None, note: str) -> Line:
    place = f" ({claim.setting}, {_delays(claim.delay)})" if claim.setting else ""
    return Line(
        id=claim.line, claim=f"{claim.text.removesuffix('.')}{place}.", source=claim.source, profile=profile,
        test=sentence(claim, profile), verdict=verdict, paper_value=claim.paper, our_value=value,
        p=None if p is None else float(f"{p:.3g}"), notebook=claim.notebook, table=claim.table,
        note=" ".join(f"{part.removesuffix('.')}." for part in (note, claim.note) if part),
    )  # fmt: skip


def _delays(delay: str) -> str:
    return f"{delay} delays" if " " not in delay else delay


def sentence(claim: Claim, profile: str) -> str:
    """Say what is compared and how."""
    words = {name: value or "a variant of other profiles" for name, value in asdict(claim.test).items()}
    words |= {name: _delays(delay or "") for name, delay in (("easier", claim.test.easier), ("delay", claim.delay))}
    words |= {"what": _COLUMNS[claim.test.column], "margin": claim.test.margin}
    if claim.test.kind == "theory":
        words["what"] = claims.questions(profile)[str(claim.test.a)].what
    text = _SENTENCES[claim.test.kind].format(**words)
    how = {"below": "; t-test over the seeds", "equal": "", "cost": "", "theory": "", "untested": ""}
    return text[0].upper() + text[1:] + how.get(claim.test.kind, "; paired t-test over the seeds") + "."


def written(profile: str) -> tuple[Path, Path]:
    """Return where the ledger is written, .md and .json: the default profile's have the plain name, no other can
    replace them."""
    name = "claims" if profile == "laptop" else f"claims-{profile}"
    return files.paper() / f"{name}.md", files.paper() / f"{name}.json"


def write(profile: str, path: Path | None = None) -> list[Line]:
    """Write the ledger's files (`written`), the same bytes each time, and return the lines; see `evaluate`."""
    lines = evaluate(profile, path)
    beside = evaluate("paper", path) if profile == "laptop" else []
    page, data = written(profile)
    files.write_whole(page, markdown(lines, beside))
    content = json.dumps([asdict(line) for line in lines], indent=1, ensure_ascii=False, allow_nan=False)
    files.write_whole(data, content + "\n")
    return lines


def text(lines: Sequence[Line]) -> str:
    """Return the ledger for a terminal: a line for each claim, and how many have each verdict."""
    width = max(map(len, VERDICTS))
    rows = [f"{line.verdict:{width}}  {line.claim}  {line.our_value or captions.NOTHING}" for line in lines]
    return "\n".join([*rows, *(f"{name}: {_tally(lines, source)}" for source, name in _SOURCES.items())])


def _tally(lines: Iterable[Line], source: str) -> str:
    counts = Counter(line.verdict for line in lines if line.source == source)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def markdown(lines: Sequence[Line], beside: Sequence[Line] = ()) -> str:
    """Return the ledger as Markdown; `beside` are the lines of another profile, of which only the verdict is shown."""
    profile = lines[0].profile
    told = {source: title for source, title in _SOURCES.items() if any(line.source == source for line in lines)}
    profiles = [(profile, lines), *([(beside[0].profile, beside)] if beside else [])]
    parts = [
        "# Claims",
        "What the paper, as a summary reports it, and this package claim, tested on the records of the profile "
        f"`{profile}`. Made by `fedecho claims` from `claims.toml`. {captions.caveat(profile)}".strip(),
        _rows([("lines", "profile", *VERDICTS), *(_counts(source, found) for source in told for found in profiles)]),
        f"{RULE} The level is {100 * LEVEL:g} %.",
    ]
    for source, title in told.items():
        parts += [f"## {title}", _table(source, lines, beside), "What is compared:", _tests(source, lines)]
    return "\n\n".join(parts) + "\n"


def _counts(source: str, found: tuple[str, Sequence[Line]]) -> tuple[str, ...]:
    counts = Counter(line.verdict for line in found[1] if line.source == source)
    return (_SOURCES[source], found[0], *(str(counts[verdict]) for verdict in VERDICTS))


def _table(source: str, lines: Sequence[Line], beside: Sequence[Line]) -> str:
    others = {line.id: line.verdict for line in beside}
    extra, unknown = ("at paper scale",) if beside else (), NOT_STATED if source == "paper" else captions.NOTHING
    rows = [("claim", "verdict", "paper", "here", "p (Holm)", *extra, "evidence")]
    for line in (line for line in lines if line.source == source):
        p = captions.NOTHING if line.p is None else captions.p_text(line.p)
        numbers = (line.paper_value or unknown, line.our_value or captions.NOTHING, p)
        other = (others[line.id],) if beside else ()
        rows.append((line.claim, f"**{line.verdict}**", *numbers, *other, _evidence(line)))
    return _rows(rows)


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """Write a GitHub table, all columns aligned left."""
    return render.github(rows, [":--"] * len(rows[0]))


def _tests(source: str, lines: Iterable[Line]) -> str:
    """Return a list of what is compared and noted, lines of the same words together."""
    said = {f"{line.test} {line.note}".strip(): line for line in lines if line.source == source}
    return "\n".join(f"* {words}" for words in said)


def _evidence(line: Line) -> str:
    """Name notebook and table, as links where they are there."""
    folder = "tables" if line.profile == "laptop" else f"tables/{line.profile}"
    found = [(line.notebook, f"../notebooks/{line.notebook}.ipynb")]
    found += [(line.table, f"{folder}/{line.table}.md")] if line.table else []
    home = files.REPOSITORY / "paper"
    return ", ".join(f"[{name}]({link})" if (home / link).is_file() else name for name, link in found)
