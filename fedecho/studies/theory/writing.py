"""Makes the tables and figures of the theory notebooks: plays what is missing, judges, writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from fedecho.report import captions
from fedecho.studies.study import Study, Table, table
from fedecho.studies.theory import drawing, runs, tabulate
from fedecho.studies.theory.results import Result, collect, fit_of, frame, judge, points
from fedecho.theory import engine, records
from fedecho.theory.config import Entry, TheoryRun
from fedecho.theory.fits import FLOOR_BAND, LEAST_R2, SLOPE_BAND

Shown = tuple[pd.DataFrame, list[bool]]
_RULE = (
    f"Rule: the 95 % intervals of both slopes within [{SLOPE_BAND[0]:g}, {SLOPE_BAND[1]:g}] and R² above {LEAST_R2:g} "
    "(“falls faster”: an interval lies below the band, none above); speed-up: the interval of the slope of the noise "
    f"floor in M within [{FLOOR_BAND[0]:g}, {FLOOR_BAND[1]:g}] and the same R². Intervals are not corrected for their "
    "number."
)
_SLOPES = (
    "Slopes: exponents of least squares on log Y = a + b_T log T + b_M log M, Y = (1/T) sum_t |grad f(x_t)|² with "
    "exact gradients, from 100 to 250 rounds that stand for the stretch around them, mean over the walks; in brackets "
    "95 % intervals by bootstrap over the walks."
)
_WALKS = (
    "Walks of a point differ in noise and in which client holds which objective; they share one schedule, so that "
    "intervals do not contain what another schedule would change."
)
_LATE = "Late |grad f|²: mean over the second half of the rounds, at the largest T."
_BANDS = "Bands: 95 % intervals over the walks (Student t); both axes logarithmic."


def _constants(*names: str) -> str:
    """Say the constants of the step and the noise."""
    parts = [
        f"{name} c = {runs.CONSTANTS[name]['scale']:g}, sigma² = {runs.CONSTANTS[name]['variance']:g}" for name in names
    ]
    law = runs.base(names[0], runs.scale("laptop")).arrivals
    return (
        "gamma = eta eta_l K = c sqrt(M/T) where nothing else is said, noise of total variance sigma² "
        f"({'; '.join(parts)}); chosen so that transient and noise are of like size, not to fit a slope. Event loop: "
        f"N = {law.clients:,} equally fast clients with 50 objectives, M_c = {law.per_buffer} M at work; independent "
        "arrivals: uniform on 50 clients, staleness 0 to 10. Unstable: points with gamma above 1/(L (tau_max + 1)), L "
        "of the network measured at two points."
    )


_ECHO = (
    f"FedEcho: Q = {runs.DISTIL.steps} step a round over a pool of 32, nu = {runs.DISTIL.clip_norm:g}, alpha from "
    f"{runs.DISTIL.alpha_min:g} to {runs.DISTIL.alpha_max:g}, eta_d = {runs.DISTIL.lr:g} at the smallest T (and M), "
    "not tuned."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class TheoryStudy(Study):
    """A table of theory runs with its figures: its words, and what makes texts and pictures of the results."""

    entries: Sequence[Entry]
    note: str
    captions: dict[str, str]
    """Figure -> caption."""
    shown: Callable[[Sequence[Result]], Shown]
    draw: Callable[[Sequence[Result], pd.DataFrame, str], dict[str, Figure]]

    def results(self) -> list[Result]:
        """Return the results in order; nothing is simulated."""
        return [Result(entry, records.find(entry.run, self.profile)) for entry in self.entries]

    def missing(self) -> int:
        """Return how many runs have no record."""
        return sum(result.record is None for result in self.results())

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Simulate what has no record (everything if `fresh`), with a bar."""

        def progress(missing: Iterable[TheoryRun]) -> Iterable[TheoryRun]:
            return tqdm(list(missing), desc=self.name.replace("_", ", "), unit="run", disable=None)

        engine.make([entry.run for entry in self.entries], self.profile, fresh, progress)

    def table(self) -> Table:
        """Return the table with its figures."""
        results = self.results()
        numbers, made = points(results), frame(results)
        texts, bold = self.shown(results)
        drawn = self.draw(results, numbers, self.profile)
        text = " ".join(filter(None, [
            f"Profile {self.profile}, {_walks_text(results)} a point.", self.note, captions.provenance_text(made),
            captions.caveat(self.profile),
        ]))  # fmt: skip
        pictures = {name: (figure, self.captions[name]) for name, figure in drawn.items()}
        return Table(made, texts, numbers, text, pictures, bold)


def _plain(table: Callable[[Sequence[Result]], pd.DataFrame]) -> Callable[[Sequence[Result]], Shown]:
    def show(results: Sequence[Result]) -> Shown:
        texts = table(results)
        return texts, [False] * len(texts)

    return show


def _rate_figures(results: Sequence[Result], numbers: pd.DataFrame, profile: str) -> dict[str, Figure]:
    return {
        "rates": drawing.rates(results, numbers),
        "controls": drawing.controls(results, numbers),
        "speedup": drawing.speed_up(results, numbers),
    }


def _bound_figures(results: Sequence[Result], numbers: pd.DataFrame, profile: str) -> dict[str, Figure]:
    found = {"terms": drawing.terms(results)}
    rates = [r for r in collect("convex", profile) if r.entry.label in _BOUNDED and r.record is not None]
    return found | ({"measured": drawing.against_bound(tabulate.against_bound(rates))} if rates else {})


_BOUNDED = ("quadratic, K = 1", "quadratic, independent arrivals")
_RATE_FIGURES = {
    "rates": "The mean of |grad f(x_t)|² over the rounds against T, a line for each buffer size M, a panel for each "
    f"objective and number K of local steps; dashed: slope −1/2. {_BANDS}",
    "controls": "The same against T M, first for the rate itself, then for the controls: where the rate holds, all M "
    f"fall on one line of slope −1/2 (dashed). {_BANDS}",
    "speedup": f"The noise floor at a fixed step from the stationary point, against M; dashed: slope −1. {_BANDS}",
}
_WORDS: dict[str, Any] = {
    "convex": (
        "theory_convex", "The rate on convex objectives", "30_theory_convex",
        f"{_SLOPES} {_RULE} Bold: as expected; adversarial: the teacher. "
        f"{_constants('quadratic', 'logistic', 'images')} {_ECHO} {_WALKS}",
        _RATE_FIGURES, tabulate.rates, _rate_figures,
    ),
    "bound": (
        "theory_bound", "The bound term by term", "30_theory_convex",
        "Quadratics, one factor at a time with all else fixed; predicted: the exponent that the bound has in the "
        "factor; measured: by least squares, 95 % interval by bootstrap over the walks. Delays: of what they add to "
        "the error without them, under the same noise. With a joint term: the exponent that tau_max tau_avg sigma_g² "
        "would have, which bounds of asynchronous methods are said to contain. h: how far the clients' centres are "
        "apart, sigma_g² is proportional to h². Where tau_avg is varied staleness is uniform on 0 to 2 tau_avg; where "
        "tau_max is varied tau_avg is held at 2.",
        {
            "terms": "Each term of the bound against one factor, all else fixed; dashed: the order that the bound has, "
            f"dotted: that of a joint term. {_BANDS}",
            "measured": "The mean of |grad f(x_t)|² on the quadratic, and the bound with its true constants and its "
            "three terms, against T, a panel for each M. It is proven for independent arrivals and steps with L gamma "
            "+ 2 (L gamma tau_max)² ≤ 1; points beyond that are crossed. Both axes logarithmic.",
        },
        _plain(tabulate.terms), _bound_figures,
    ),
    "nonconvex": (
        "theory_nonconvex", "The rate on objectives that are not convex", "31_theory_nonconvex",
        f"{_SLOPES} {_RULE} Bold: as expected. {_constants('bounded', 'network')} {_ECHO} {_WALKS}",
        _RATE_FIGURES, tabulate.rates, _rate_figures,
    ),
    "arrivals": (
        "theory_arrivals", "Arrivals that are not uniform", "32_theory_arrivals",
        "Logistic regression of 50 clients who disagree, 25 at work, M = 5, "
        f"c = {runs.CONSTANTS['logistic']['scale']:g}, sigma² = 0.25. Skewed: 25 fast, 16 medium, 9 slow clients; "
        "adversarial: the same with large delays, where the "
        "slowest hold the objectives that stand out at one end of the direction in which clients differ most; all "
        f"others: equally fast clients. {_LATE} Slope in T: of that. / FedBuff's: geometric mean of ratios, "
        "paired over the walks, with its 95 % interval, long training against long. Plateau: |grad f|² where the "
        "objective is least that weights clients by their share of the arrivals in the second half; / prediction: over "
        "that plus what FedBuff leaves under uniform arrivals. Long: K = 10 local steps at a rate that "
        f"does not shrink with T. eta_d falls as T^-3/4. {_ECHO} {_WALKS}",
        {"late": "|grad f(x_t)|² over the second half of the rounds against T, a panel for each kind of arrivals; "
         "dotted: the plateau that is predicted for FedBuff, grey: the 10 to 90 % quantiles of that over the walks; "
         f"hollow and dashed: long local training. {_BANDS}"},
        _plain(tabulate.arrivals), lambda results, numbers, profile: {"late": drawing.arrivals(results, numbers)},
    ),
    "methods": (
        "theory_methods", "Rates of all methods", "32_theory_arrivals",
        f"{_SLOPES} {_RULE} Slopes under independent arrivals; biased arrivals: {runs.BIASED}. {_LATE} Steps: linear "
        "methods gamma = c sqrt(M/T); FADAS and FedAC a server rate c / sqrt(T); FedAsync T M steps with "
        "c / sqrt(T M). "
        f"None is tuned: exponents can be compared, levels cannot. eta_d falls as T^-3/4. {_ECHO} {_WALKS}",
        {"slopes": "Exponents in T and M of every method with 95 % intervals, and what biased arrivals leave of "
         "|grad f|²; grey: the band of the rule."},
        _plain(tabulate.methods), lambda results, numbers, profile: {"slopes": drawing.methods(results)},
    ),
    "distillation": (
        "theory_distillation", "How fast the distillation rate has to fall", "33_theory_distillation",
        f"{_SLOPES} {_ECHO} Logistic regression, M = 4, K = 1. eta_d falls with T from there. "
        "adversarial: the model with the signs of x* turned and ten times as sure teaches; random: a model drawn anew "
        "in each round; honest: FedEcho's own average of all clients' predictions, as soft and hard labels (alpha in "
        "[0.2, 0.8]) or as soft ones alone. Rule: that for the slope in T. " + _WALKS,
        {"schedules": "The mean of |grad f(x_t)|² over the rounds against T, a panel for each teacher, a line for each "
         f"schedule of eta_d; dotted: without distillation; dashed: slope −1/2. {_BANDS}"},
        _plain(tabulate.teachers),
        lambda results, numbers, profile: {"schedules": drawing.teachers(results, numbers)},
    ),
}  # fmt: skip


def _table(name: str) -> Callable[..., Study]:
    def build(profile: str = "laptop") -> Study:
        stem, title, notebook, note, words, shown, draw = _WORDS[name]
        return TheoryStudy(name=stem, title=title, notebook=notebook, profile=profile, note=note, captions=words,
                           entries=runs.entries(name, profile), shown=shown, draw=draw)  # fmt: skip

    build.__name__ = _WORDS[name][0]
    return table(build)


theory_convex, theory_bound, theory_nonconvex, theory_arrivals, theory_methods, theory_distillation = map(
    _table, _WORDS
)


def _walks_text(results: Sequence[Result]) -> str:
    counts = sorted({result.entry.run.walks for result in results}, reverse=True)
    return f"{counts[0]} walks" + (f" ({' or '.join(map(str, counts[1:]))} where few suffice)" if counts[1:] else "")


def doubt(run: TheoryRun) -> str:
    """Play a run of one's own, keep nothing, and say how its error falls and what the rule says to that."""
    found = Result(Entry("rate", "a run of one's own", run), engine.execute(run))
    fitted, verdict = fit_of(found), judge(found)
    slopes = {} if fitted is None else fitted.slopes
    parts = [f"slope in {name} {tabulate.slope_text(slope)}" for name, slope in slopes.items()]
    return f"{', '.join(parts) or 'no slopes'}: the rule {verdict}"


def outlook(profile: str, fresh: bool) -> str:
    """Say how many batches of trajectories the theory notebooks are going to simulate."""
    wanted = dict.fromkeys(entry.run for name in _WORDS for entry in runs.entries(name, profile))
    missing = [run for run in wanted if fresh or not records.path_of(run, profile).is_file()]
    return f"theory: {len(missing)} of {len(wanted)} batches of walks to play"
