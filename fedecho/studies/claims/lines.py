"""The lines of the ledger: the primary claims, then the checks of the theory, then estimates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedecho.report import render
from fedecho.report.summary import NOT_RUN, Verdict
from fedecho.studies import claims
from fedecho.studies.claims import questions, table_of
from fedecho.studies.claims.claim import Claim, Role
from fedecho.studies.claims.evidence import parts, sample
from fedecho.studies.claims.verdicts import LEVEL, POWER, Judged, Sample, judged, needed, power_of, spread

ROLES: tuple[Role, ...] = ("primary", "check", "exploratory")
_COLUMNS = {"score": "test accuracy", "straggler": "test accuracy on the classes that only stragglers own"}
_SENTENCES = {
    "greater": "{what} of {a} minus that of {b}",
    "equivalent": "{what} of {a} minus that of {b}, equivalent if within ± {margin:g} points",
    "gap": "{what} lost from {easier} to {delay} delays: {b}'s loss minus {a}'s",
    "cost": "wall-clock seconds of server work per round of {a}",
    "theory": "",
}
"""Kind of test -> what is looked at."""


@dataclass(frozen=True)
class Line:
    """One line of the ledger, as claims.json has it."""

    id: str
    role: Role
    claim: str
    place: str
    """Setting and delay; empty for several, and for none."""
    source: str
    profile: str
    test: str
    """What is compared, as a sentence."""
    notebook: str
    table: str
    paper_value: str | None
    """The paper's own numbers, as its summary gives them."""
    note: str = ""
    verdict: Verdict | None = None
    """None for an estimate."""
    qualifier: str = ""
    """What has to be said with the verdict."""
    our_value: str | None = None
    """With unit and 95 % interval, positive in the claimed direction; of a primary claim, from fresh seeds alone."""
    n: int | None = None
    """How many seeds that are."""
    pooled: str | None = None
    """A primary claim's value over all seeds."""
    p: float | None = None
    """Of the verdict on a primary claim (the larger one where both sides are shown), Holm-corrected in its family."""
    margin: float | None = None
    """Its smallest effect of interest, in points."""
    power: float | None = None
    """The chance of the likelier verdict, as predicted from the seeds before the fresh ones."""
    needed: int | None = None
    """How many seeds give a verdict with a chance of 80 %, if leads are as on all seeds."""
    family: str = ""
    """The primary claims that it was written down with."""

    @property
    def said(self) -> str:
        """The verdict with its qualifier; the value of an estimate."""
        return ", ".join(filter(None, [self.verdict, self.qualifier])) or self.our_value or NOT_RUN


def evaluate(profile: str, path: Path | None = None) -> list[Line]:
    """Ask every claim of the records of a profile; `path` replaces paper/claims.toml, nothing is trained or written.

    Raises `InputError` for an entry that cannot be used, before any record is read.
    """
    found = claims.read(profile, path)
    primary, checks, others = ([claim for claim in found if claim.role == role] for role in ROLES)
    return [
        *(line for family in families(primary) for line in _family(profile, family)),
        *(_check(profile, claim) for claim in checks),
        *(_estimate(profile, claim, sample(claim, profile)) for claim in others),
    ]


def families(primary: Iterable[Claim]) -> list[list[Claim]]:
    """Return primary claims by the family that they were written down in: each has its own correction by Holm."""
    found: dict[str, list[Claim]] = {}
    for claim in primary:
        found.setdefault(claim.family, []).append(claim)
    return list(found.values())


def _family(profile: str, family: Sequence[Claim]) -> list[Line]:
    fresh = [(claim, parts(claim, profile)[1]) for claim in family]
    told, level = zip(fresh, judged(fresh), strict=True), LEVEL / len(family)
    return [_primary(profile, claim, part, sample(claim, profile), found, level) for (claim, part), found in told]


def _primary(profile: str, claim: Claim, fresh: Sample, pooled: Sample, found: Judged, level: float) -> Line:
    known = pooled.text()
    return _line(
        profile, claim, fresh.note, verdict=found.verdict, our_value=fresh.text(), n=len(fresh.pairs),
        pooled=known and f"{known[:-1]}, n = {len(pooled.pairs)})", p=found.p and float(f"{found.p:.3g}"),
        qualifier=_qualifier(found.verdict, found.qualifier, claim.given), margin=claim.margin, power=claim.power,
        needed=needed(claim, pooled.leads, level), family=claim.family,
    )  # fmt: skip


def _check(profile: str, claim: Claim) -> Line:
    found = questions(profile)[str(claim.test.a)][1].answer()
    about = _qualifier(found.verdict, "", claim.given)
    return _line(profile, claim, found.note, verdict=found.verdict, our_value=found.value, qualifier=about)


def _estimate(profile: str, claim: Claim, sample: Sample) -> Line:
    unit = "s per round" if claim.test.kind == "cost" else "points"
    return _line(profile, claim, sample.note, our_value=sample.text(unit), n=len(sample.pairs))


def _qualifier(verdict: str, size: str, given: str) -> str:
    return "" if verdict == NOT_RUN else ", ".join(filter(None, [size, given and f"given {given}"]))


def _line(profile: str, claim: Claim, note: str, **found: Any) -> Line:
    return Line(
        id=claim.line, role=claim.role, claim=f"{claim.text.removesuffix('.')}.", source=claim.source,
        place=", ".join(claim.places[0]) if len(claim.places) == 1 else "", profile=profile,
        test=sentence(claim, profile), paper_value=claim.paper, table=claim.table,
        notebook=table_of(claim.table, profile).notebook,
        note=" ".join(f"{part.removesuffix('.')}." for part in (note, claim.note) if part), **found,
    )  # fmt: skip


def sentence(claim: Claim, profile: str) -> str:
    """Say what is compared and how."""
    test, delay = claim.test, claim.places[0][1] if claim.places else ""
    if test.kind == "theory":
        return f"{questions(profile)[str(test.a)][1].what}."
    text = _SENTENCES[test.kind].format(**asdict(test), what=_COLUMNS[test.column], margin=claim.margin, delay=delay)
    over = f", mean over {'; '.join(map(', '.join, claim.places))}" if len(claim.places) > 1 else ""
    return f"{text[0].upper()}{text[1:]}{over}{', paired over the seeds' if test.b else ''}."


def planning(profile: str, path: Path | None = None) -> str:
    """Return what the seeds before the fresh ones gave for each primary claim, and how likely that makes a verdict on
    the fresh ones: at the strictest level of Holm's correction, which is the power to write down, and without it."""
    primary = [claim for claim in claims.read(profile, path) if claim.role == "primary"]
    rows: list[tuple[object, ...]] = [
        ("claim", "n", "mean", "sd", "fresh", "power after Holm", f"at {LEVEL:g}", f"n for {POWER:.0%}")
    ]
    for claim, level in ((claim, LEVEL / len(family)) for family in families(primary) for claim in family):
        leads = parts(claim, profile)[0].leads
        if not leads:  # written down after a choice on seeds that no table has
            continue
        powers = [f"{power_of(claim, leads, claim.seeds, p):.2f}" for p in (level, LEVEL)]
        numbers = (len(leads), *(f"{value:.2f}" for value in spread(leads)), claim.seeds, *powers)
        rows.append((claim.id, *numbers, needed(claim, leads, level)))
    return render.github(rows, [":--"] * len(rows[0]))
