"""Hours of ill treatment, in minutes: `python -m tests.endurance [kills|bits|signals|inputs] ...`; `make endurance`.

Each measurement says one line. Not in CI: it takes minutes and depends on how busy the machine is.
"""

from __future__ import annotations

import sys
import time

from tests.endurance import bits, inputs, kills, signals

MEASURES = {"kills": kills.measure, "bits": bits.measure, "signals": signals.measure, "inputs": inputs.measure}


def main() -> None:
    """Measure what the command line names, or everything."""
    for name in sys.argv[1:] or MEASURES:
        began = time.monotonic()
        print(f"{name}: {MEASURES[name]()} [{time.monotonic() - began:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
