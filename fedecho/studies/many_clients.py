"""25: what does a server take of time and memory when there are many clients, of which few are at work at a time?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd

from fedecho.core.checks import require_known
from fedecho.core.config import override_all
from fedecho.report.summary import REFERENCE
from fedecho.studies import cost
from fedecho.studies.cost import MANY, SERVERS, Point
from fedecho.studies.cost_figures import MILLI, by_method
from fedecho.studies.server_cost import CostStudy, made_by, megabytes, three_digits
from fedecho.studies.study import Study, Table, table
from fedecho.studies.teacher import HEARD

CLIENTS = {"smoke": (20, 40), "laptop": (50, 500, 5_000, 50_000), "paper": (50, 500)}
BUSY = {"smoke": (16, 4), "laptop": (1_000, 100), "paper": (100, 10)}
"""Profile -> M_c and M of the second group of points, where there are clients enough."""
METHODS = ("FedBuff", "CA2FL", REFERENCE, HEARD[0].label)
"""No state of the clients; a model for each; a row of the bank for each, with a running sum; and without one."""


@table
def many_clients(profile: str = "laptop", *, clients: Sequence[int] = (), methods: Sequence[str] = METHODS) -> Study:
    """Return what servers take of time and memory by the number of clients."""
    require_known("methods", methods, SERVERS)
    return ManyClients(
        name="many_clients", title="Many clients", notebook="25_server_cost", profile=profile,
        points=points(profile, clients or CLIENTS[profile], methods),
        note="Servers alone, on stand-in uploads, by the number of clients N. Ratio: to the fewest clients of the same "
        "group. State: kept between rounds, and the uploads of one; predicted by formula.",
        details="Milliseconds an arrival: medians over rounds, all phases of the server together, divided by M; the "
        "clients' training is not in them. FedEcho keeps N |U| C numbers and adds to a running sum: a row costs the "
        "same however many there are; FedAUX's certainties weigh all rows anew in every round. CA2FL keeps a model "
        "of P numbers for each client, FedBuff nothing. A bank in half precision takes half the memory, one of the k "
        "largest logits less (table bank).",
    )  # fmt: skip


def points(profile: str, clients: Sequence[int], methods: Sequence[str]) -> list[Point]:
    """Return the servers of each method: at the profile's M_c and M, and at larger ones if N is twice M_c or more."""
    m_c, m = BUSY[profile]
    more = {"protocol.concurrency": m_c, "protocol.buffer_size": m}
    groups: list[tuple[str, dict[str, Any], list[int]]] = [
        ("N", {}, sorted({cost.base(profile, REFERENCE).protocol.clients, *clients})),
        (MANY, more, sorted(n for n in clients if n >= 2 * m_c)),
    ]
    return [
        Point(factor, label, override_all(own, {"protocol.clients": n, **changes}))
        for label in methods
        for own in [cost.base(profile, label)]
        for factor, changes, numbers in groups
        for n in numbers
    ]


class ManyClients(CostStudy):
    """A table of costs by the number of clients."""

    kept: ClassVar = ("many_clients", "clients")

    @property
    def caption(self) -> str:
        """What the costs are and how to read them."""
        own = cost.base(self.profile, REFERENCE)
        return f"{self.note} |U| = {own.data.pool_size}, Q = {own.distill.steps}. MB = 10^6 bytes."

    def table(self) -> Table:
        """Return a row per method and number of clients, with a figure."""
        found, frame = self.measured()
        frame = an_arrival(frame, self.points)
        notes = made_by(found, self.profile)
        words = (
            "Milliseconds an arrival (above) and MB of state and uploads (below) by the number of clients, a column "
            "per group. Dots: measured; lines: predicted, from the profile's own point alone; both axes logarithmic. "
            "CA2FL's memory all but coincides with FedEcho's where P is about |U| C."
        )
        return Table(
            frame, display(frame), frame, notes, {"clients": (by_method(frame, "ms an arrival"), words)},
            record_set=found.digest,
        )  # fmt: skip


def an_arrival(frame: pd.DataFrame, points: Sequence[Point]) -> pd.DataFrame:
    """Return the frame with M, seconds an arrival in place of those a round, `ratio` (to the fewest clients of a method
    and group), and bytes of state and uploads together (`memory`), measured and predicted."""
    arrivals = [point.config.protocol.buffer_size for point in points]
    ends = ("", "_predicted")
    out = frame.assign(
        concurrency=[point.config.protocol.concurrency for point in points], arrivals=arrivals,
        **{f"server{end}": frame[f"server{end}"] / arrivals for end in ends},
        **{f"memory{end}": frame[f"state{end}"] + frame[f"uploads{end}"] for end in ends},
    )  # fmt: skip
    return out.assign(ratio=out["server"] / out.groupby(["method", "factor"])["server"].transform("first"))


def display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as texts, indexed by method and group."""
    texts = [
        {"server": row["method"], "M of M_c": f"{row['arrivals']} of {row['concurrency']:,}", "N": f"{row['value']:,}"}
        | {"ms an arrival": three_digits(row["server"] / MILLI), "ratio": f"{row['ratio']:.2f}"}
        | {"memory, MB": megabytes(row["memory"]), "predicted, MB": megabytes(row["memory_predicted"])}
        for row in frame.to_dict("records")
    ]
    return pd.DataFrame(texts).set_index(["server", "M of M_c"])
