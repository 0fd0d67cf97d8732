"""What a record says about its making: code, versions, machine. What cannot be found out is null, never guessed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from fedecho.core.checks import require
from fedecho.core.files import PACKAGE, REPOSITORY, in_clone

_PACKAGES = ("fedecho", "torch", "torchvision", "numpy", "scipy", "tokenizers")

LIMITS = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR",
    "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES",
)  # fmt: skip
"""Variables that keep libraries from instructions that the processor has."""


def collect(device: str) -> dict[str, Any]:
    """Return commit, dirty flag, versions, hardware and thread count, as JSON values."""
    import torch  # slow to import, and not needed to read records

    return {
        **code(),
        "versions": versions(*_PACKAGES),
        "hardware": _hardware(device),
        "threads": torch.get_num_threads(),
    }


@cache
def code() -> dict[str, Any]:
    """Return the commit of the package's repository; `dirty` looks at the code alone, for records lie beside it."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", str(PACKAGE))
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


@cache
def commit_date(commit: str) -> str | None:
    """Return the day of a commit of this clone, as YYYY-MM-DD; none where it is not known."""
    return _git("show", "--no-patch", "--format=%cs", commit)


def _git(*arguments: str) -> str | None:
    if not in_clone():  # else the commit would be that of a project whose environment the package is installed in
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=True,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        if "dubious ownership" in str(getattr(error, "stderr", "")):
            _say_refused()
        return None
    return done.stdout.strip()


_REFUSED = "FEDECHO_GIT_REFUSED"


def refused() -> bool:
    """Tell whether git did not want to look at a clone that another user owns."""
    return _REFUSED in os.environ


def _say_refused() -> None:
    """Say once, for this process and all that it starts, why no record of theirs names a commit."""
    if not refused():
        os.environ[_REFUSED] = "1"
        advice = f"`git config --global --add safe.directory {REPOSITORY}` says that it may be read"
        print(f"fedecho: the commit is unknown (git refused): another user owns the clone; {advice}", file=sys.stderr)


@cache
def versions(*packages: str) -> dict[str, str | None]:
    """Return the version of Python and of packages, none of one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


@cache
def _hardware(device: str) -> dict[str, Any]:
    import numpy as np
    import torch

    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "simd": np.show_config(mode="dicts")["SIMD Extensions"]["found"],  # which numpy finds and may use
        **({"limits": limits} if (limits := {name: os.environ[name] for name in LIMITS if name in os.environ}) else {}),
    }


def _cpu_name() -> str | None:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name"))
    return next(names, None)


def cores() -> int:
    """Return how many processes make sense here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_device(device: str) -> None:
    """Raise `InputError` for a device that torch does not have here."""
    import torch

    known = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    require(device.split(":")[0] in known, "device", device, f"this machine has {' and '.join(known)}")
