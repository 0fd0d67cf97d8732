"""Done once for all notebooks: the process that they are forked from imports this, and so what they import.

Imports are most of what a notebook costs whose records are at hand. A kernel that is forked finds them done and is
otherwise as fresh as a new one: the process it comes from runs no cell and opens no record.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import os
import types

from fedecho.report.kernels import environment

_MODULES = (
    "papermill", "ipykernel.kernelapp", "ipykernel.zmqshell", "IPython.core.magics", "IPython.core.pylabtools",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "pandas.io.formats.style",
    "fedecho.cli.main", "fedecho.studies", "fedecho.learning.walkthrough", "fedecho.report.illustrations",
)  # fmt: skip
"""What runs a notebook, what is imported only as a table or a figure is written, and the package."""
_NEW_OBJECTS = 50_000
"""Between two collections: figures are made of many objects and few circles."""

os.environ.update(environment())  # some modules look into it as they are imported
# So do others whether this is a kernel: pandas shows fewer columns elsewhere.
vars(builtins)["get_ipython"] = lambda: types.SimpleNamespace(kernel=None)
for _name in _MODULES:
    with contextlib.suppress(ImportError):  # the notebook will say what is missing
        importlib.import_module(_name)
del vars(builtins)["get_ipython"]
# Else Python would look through all of it again and again, a tenth of the time in a kernel.
gc.collect()
gc.freeze()
gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
