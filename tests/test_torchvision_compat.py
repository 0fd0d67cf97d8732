"""torchvision imports beside this torch, whichever build it is, and nothing is declared twice."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

IMPORT_AND_USE = """
import fedecho.data.torchvision_compat as compat
tv = compat.torchvision()
assert compat.torchvision() is tv
import torch
torch.set_num_threads(1)
assert tv.models.resnet18(num_classes=10).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
from torchvision.transforms import v2
assert v2.RandomCrop(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)
assert tv.datasets.CIFAR10.base_folder == "cifar-10-batches-py"
schema = str(torch.ops.torchvision.nms.default._schema)
assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", schema
assert compat.declare_missing() == []
"""

SOMEBODY_ELSE_DECLARED_ONE = """
import torch
theirs = torch.library.Library("torchvision", "DEF")
theirs.define("nms(Tensor theirs) -> Tensor")
from fedecho.data.torchvision_compat import declare_missing
assert declare_missing() == ["qnms"]
assert declare_missing() == []
assert "theirs" in str(torch.ops.torchvision.nms.default._schema)
"""

IMPORTED_BEFORE = """
import sys, types
sys.modules["torchvision"] = before = types.ModuleType("torchvision")
from fedecho.data.torchvision_compat import _libraries, torchvision
assert torchvision() is before
assert _libraries == []
"""


def run_alone(code: str) -> None:
    """Run `code` in a fresh interpreter, because operators and imports last as long as the process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_plain_import_gives_a_torchvision_that_runs() -> None:
    run_alone(IMPORT_AND_USE)


@pytest.mark.slow
def test_an_operator_that_exists_is_not_declared_again() -> None:
    run_alone(SOMEBODY_ELSE_DECLARED_ONE)


def test_a_torchvision_imported_before_is_left_as_it_is() -> None:
    run_alone(IMPORTED_BEFORE)
