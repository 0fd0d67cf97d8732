"""The one place where the package imports torchvision, so that it also works beside a CPU-only torch.

torchvision's wheels on PyPI link CUDA. Beside a CPU-only torch their extension does not load, nobody declares the
operators `nms` and `qnms`, and `import torchvision` stops at "operator torchvision::nms does not exist", although
data sets, transforms and models need neither. Declaring the missing schemas is enough for those.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fedecho.core.checks import InputError

# A Library withdraws its operators when it is garbage collected, so it lives as long as the module.
_libraries: list[object] = []


@functools.cache
def torchvision() -> ModuleType:
    """Return the module `torchvision`; raises ImportError where it is not installed.

    Operators are declared only after a plain import has failed for want of them: where torchvision's extension loads
    (a CUDA build), or was imported before, nothing is touched.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    declare_missing()
    return importlib.import_module("torchvision")


def open_data(name: str, root: Path, folder: str, **options: object) -> Any:
    """Return torchvision's data set `name` from its `folder` in `root`, never downloading.

    torchvision compares every file with its md5 in the constructor, before it unpickles or reads the first one.
    InputError: a checksum is wrong, or torchvision is not installed.
    """
    place = str(root / folder)
    try:
        return getattr(torchvision().datasets, name.upper())(str(root), download=False, **options)
    except ImportError as error:
        raise InputError("data", place, f"reading it needs torchvision ({error})") from None
    except RuntimeError as error:
        reason = str(error).split(". You can")[0]
        raise InputError("data", place, f"delete the folder and get it again ({reason})") from None


def declare_missing() -> list[str]:
    """Declare those of `nms` and `qnms` that do not exist yet and return their names."""
    torch = importlib.import_module("torch")  # here, so that importing the data layer does not cost a second
    missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
    if missing:
        # FRAGMENT and not DEF: a namespace admits one DEF, and somebody else's may hold the other operator already.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            # The schema of torchvision's own csrc/ops, so that nothing that inspects it can tell the difference.
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)
    return missing
