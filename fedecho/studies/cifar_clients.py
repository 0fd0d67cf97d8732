"""14, second part: do the methods keep their order with a thousand clients of 45 images each?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.core.settings import Delays
from fedecho.studies.comparison import CURVES, Comparison
from fedecho.studies.grid import DIR, FEW, PARTITIONS, PURE, Changes, Seeds, Setting, Variant, grid, main_methods
from fedecho.studies.profiles import BLOCKS, profile as scale_of
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import HEARD

MANY = {"smoke": (100, 1_000), "laptop": (1_000, 45_000), "paper": (1_000, 45_000)}
"""Profile -> N and images."""
WITHOUT = ("FedBuff", "CA2FL", "FedEcho (tuned eta)")
"""Rows of the smaller block that are left out: where a method has two, one of them."""
HALF: Changes = {"method.distill.bank_dtype": "float16"}


@table
def cifar_clients(
    profile: str = "laptop", *, methods: Sequence[str] | None = None, settings: Sequence[str] = (DIR, PURE),
    seeds: Seeds = None,
) -> Study:  # fmt: skip
    """Return the table of the CIFAR block's methods with many clients, as tuned with 50, under large delays."""
    scale, (clients, images) = BLOCKS["cifar"][profile], MANY[profile]
    rows = [in_half(row) for row in main_methods(scale, methods) if methods is not None or row.label not in WITHOUT]
    rows += [in_half(HEARD[1])] if methods is None else []
    return Comparison(
        name="cifar_clients", title="CIFAR-10 with a thousand clients", notebook="14_table_cifar", profile=profile,
        scale=scale, cells=grid(scale, rows, [many(scale, name, clients, images) for name in settings],
                                few=FEW, seeds=seeds),
        figures=CURVES,
        note=f"{clients:,} clients share {images:,} CIFAR-10 images; large delays; methods as tuned with 50 clients.",
        details="M = 20 of M_c = 100 jobs, the small CNN. The clients share four times the images of the reduced block "
        "(all but the 5,000 of validation) and are 20 times as many; each takes part some four times in 200 rounds. "
        "M_c / M, so the mean staleness, is the same. Clients that draw fewer than 10 images are given some "
        "of the largest. FedEcho's bank holds 1,000 rows for each of the clients in half precision, 20 MB in all. "
        "Rates are those of the reduced block, tuned with 50 clients of 200 images: all methods use them unchanged. "
        "The last row is FedEcho with the teacher that was chosen on Fashion-MNIST among those that ask nothing of the "
        "clients. Three seeds.",
    )  # fmt: skip


def in_half(row: Variant) -> Variant:
    """Return a row whose bank, if it has one, keeps half precision."""
    return Variant(row.label, {**row.changes, **(HALF if "FedEcho" in row.label else {})}, row.contender)


def many(scale: str, name: str, clients: int, images: int) -> Setting:
    """Return a setting of the main table with more clients, more images, and four times the profile's M_c and M."""
    of = scale_of(scale)
    changes = {
        "protocol.clients": clients,
        "protocol.concurrency": 4 * of.protocol.concurrency,
        "protocol.buffer_size": 4 * of.protocol.buffer_size,
        "data.train_size": images,
        "partition.too_small": "top up",
    }
    if PARTITIONS.get(name, {}).get("straggler_classes"):  # the kinds of client as often as there
        fast, medium, slow = (count * clients // of.protocol.clients for count in of.speed_counts)
        changes["delays"] = Delays("large", speed_counts=(fast, medium, slow))
    return Setting(name, "large", changes, (name, "large"))
