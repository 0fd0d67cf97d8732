"""25: what does each method cost the server, in seconds and in bytes?"""

from __future__ import annotations

from dataclasses import dataclass

from fedecho.core.checks import require
from fedecho.report import captions
from fedecho.report.summary import REFERENCE
from fedecho.studies import cost
from fedecho.studies.cost import drawing, tabulate
from fedecho.studies.study import Study, Table, table

_LINES = "Dots: measured; lines: predicted, from the profile's own point (vertical line) alone; both axes logarithmic."
_FIGURES = {
    "seconds": f"Milliseconds a round of FedEcho's server by phase, a panel per factor. {_LINES}",
    "bytes": "MB that FedEcho's server holds at its peak, a panel per factor: the bank (state), the versions in flight "
    f"(checkpoints; the line is a bound) and the uploads of a round. {_LINES}",
    "methods": "Milliseconds a round (above) and MB beside checkpoints (below) of every method's server, a column per "
    "factor. Dots: measured; lines: predicted; both axes logarithmic.",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class CostStudy(Study):
    """A table of measured and predicted costs."""

    others: bool = False
    """Whether it compares methods, or shows the reference's server by factor."""

    def missing(self) -> int:
        """Return 1 where nothing is measured yet."""
        return int(cost.stored(self.profile) is None)

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Measure the servers, one after the other, if they are not or `fresh`."""
        cost.measured(self.profile, fresh)

    def table(self) -> Table:
        """Return the table; raises `InputError` where nothing is measured yet."""
        measurement = cost.stored(self.profile)
        words = "nothing is measured yet; run `fedecho tables --only cost`"
        require(measurement is not None, "cost", self.profile, words)
        assert measurement is not None
        frame, digest = cost.frame(self.profile, measurement), cost.digest(measurement)
        end = " ".join(filter(None, [tabulate.made_by(measurement, digest), captions.caveat(self.profile)]))
        if self.others:
            text = f"{tabulate.methods_caption(self.profile)} {end}"
            return Table(frame, tabulate.methods_display(frame), frame, text, record_set=digest)
        own = frame[frame["method"] == REFERENCE]
        text = f"{tabulate.factors_caption(frame, self.profile)} {end}"
        drawn = {name: (figure, _FIGURES[name]) for name, figure in drawing.all_figures(frame).items()}
        return Table(frame, tabulate.factors_display(frame), own, text, drawn, own["base"].tolist(), digest)

    def sentences(self) -> list[str]:
        """Say what the server costs, beside what the paper is said to report."""
        measurement = cost.stored(self.profile)
        assert measurement is not None
        return tabulate.sentences(cost.frame(self.profile, measurement), self.profile)


@table
def server_cost(profile: str = "laptop") -> Study:
    """Return the cost of FedEcho's server by factor."""
    return CostStudy(
        name="server_cost", title=f"Cost of {REFERENCE}'s server", notebook="25_server_cost", profile=profile
    )


@table
def server_cost_methods(profile: str = "laptop") -> Study:
    """Return the cost of every method's server."""
    return CostStudy(
        name="server_cost_methods", title="Cost of the servers", notebook="25_server_cost", profile=profile, others=True
    )
