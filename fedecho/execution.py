"""How a run's arithmetic is carried out: all that may change a result's last digits, and so is part of the run."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Literal

from fedecho.checked import Checked, require


@dataclass(frozen=True)
class Execution(Checked):
    """Batches and precisions; the defaults are those of every record made so far."""

    inference_batch: int = 200
    """Images per forward pass over U and the held-out images: another size sums in another order."""
    channels_last: bool = False
    """Keep images and convolution weights as [batch, height, width, channels] in memory."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Precision of convolutions and matrix products in forward and backward passes; weights stay float32."""
    compile: bool = False
    """Compile the forward and backward pass of full batches with torch.compile (on a GPU: replayed as CUDA graphs).

    Takes about a minute at the start of a process; needs a C++ compiler, on a GPU Triton besides.
    """

    def validate(self) -> None:
        """Check ranges."""
        require(self.inference_batch >= 1, "inference_batch", self.inference_batch, "give at least 1 image")

    def require_compiler(self, device: str) -> None:
        """Raise `InputError` where `compile` is asked for and its tools are not here."""
        if not self.compile:
            return
        names = (os.environ.get("CXX", "g++"), "g++", "clang++")
        require(any(map(shutil.which, names)), "compile", True, "no C++ compiler is here; install g++ or leave it off")
        if device.startswith("cuda"):
            require(importlib.util.find_spec("triton") is not None, "compile", True, "install triton or leave it off")
