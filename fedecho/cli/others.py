"""The commands about data sets and about speed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from fedecho.core.checks import InputError, require
from fedecho.learning.bar import saying


def data(
    action: tyro.conf.Positional[Literal["list", "fetch"]],
    name: tyro.conf.Positional[str | None] = None,
    data_root: Path | None = None,
) -> None:
    """List the data sets and where they are looked for, or fetch one into the data folder.

    Args:
        action: list or fetch.
        name: cifar10, cifar100 or stl10.
        data_root: the data folder (if omitted: FEDECHO_DATA).
    """
    from fedecho import data as datasets

    if action == "fetch":
        require(name is not None, "name", name, "say which data set to fetch: cifar10, cifar100 or stl10")
        with saying(f"getting and unpacking {name}"):
            print(datasets.fetch(str(name), data_root))
        return
    print(f"data folder: {datasets.data_root(data_root)}")
    for known in dict.fromkeys((*datasets.DATASETS, *datasets.TEXTS, *datasets.POOLS)):
        print(f"{known:18} {_presence(known, data_root)}")


def _presence(name: str, root: Path | None) -> str:
    from fedecho import data as datasets

    try:
        if name in datasets.DATASETS:
            datasets.load(name, root)
        elif name in datasets.TEXTS:
            datasets.load_texts(name, root)
        else:
            datasets.load_unlabeled(name, root, count=1)
    except InputError as error:
        return f"absent: {error.allowed}"
    return "present"


def bench(scale: Literal["laptop", "paper"] = "laptop", device: str = "cpu", processes: int | None = None) -> None:
    """Measure the library's overhead over equivalent bare loops and the gains of faster options, as ratios of time.

    Args:
        scale: laptop, or paper: ResNet-18, on random images.
        device: cpu or cuda (at the scale paper).
        processes: number of parallel runs to compare with a single one (if omitted: all cores, or 4 on a GPU).
    """
    from fedecho.cli import bench, bench_paper
    from fedecho.core.provenance import require_device

    require(device == "cpu" or scale == "paper", "device", device, "the laptop's ratios are of CPU time; use cpu")
    require(processes is None or processes >= 1, "processes", processes, "give at least 1")
    require_device(device)
    with saying("measuring, each thing several times"):
        for line in [bench.report()] if scale == "laptop" else bench_paper.lines(device, processes):
            print(line, flush=True)
