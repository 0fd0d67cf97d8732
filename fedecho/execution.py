"""How a run's arithmetic is carried out: all that may change a result's last digits, and so is part of the run."""

from __future__ import annotations

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

    def validate(self) -> None:
        """Check ranges."""
        require(self.inference_batch >= 1, "inference_batch", self.inference_batch, "give at least 1 image")
