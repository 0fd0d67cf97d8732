"""Runs a notebook as one runs a command: checked parameters, this interpreter, and an output that is whole or absent.

papermill does the executing, in a process of its own per notebook (`kernels`), forked from one that has done the
imports (`nursery`); a copy that came from the same sources and records stays (`stamps`). What papermill would let pass
is refused here: a misspelt or mistyped parameter, a kernel of another Python, a wait without end, a failed run that
looks like a finished one.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fedecho import kernels, paths, stamps
from fedecho.config import require
from fedecho.errors import InputError
from fedecho.nursery import Nursery, usable

GROUPS = {
    "quickstart": ("00_quickstart",),
    "algorithm": ("01_algorithm_step_by_step",),
    "tuning": ("02_tuning",),
    "vision": ("10_table_vision",),
    "language": ("11_table_language", "13_table_generation", "28_bank_compression"),
    "generation": ("13_table_generation", "28_bank_compression"),
    "unlabeled": ("12_table_unlabeled",),
    "cifar": ("14_table_cifar",),
    "ablations": (
        "20_ablation_alpha",
        "21_ablation_nu",
        "22_ablation_data_size",
        "23_ablation_delay",
        "24_heterogeneity_buffer",
    ),
    "cost": ("25_server_cost",),
    "controls": ("26_controls", "27_sensitivity"),
    "theory": ("30_theory_convex", "31_theory_nonconvex", "32_theory_arrivals", "33_theory_distillation"),
}
"""What `ONLY=` understands besides the names of the notebooks themselves."""

_LIMITS = {"smoke": 600, "laptop": 8 * 3600, "paper": 3600}
"""Seconds that a notebook may take when nothing has been run yet; at the paper's scale none trains."""


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names the cell, the error and the partial output."""


def records_dir(profile: str) -> Path:
    """Return the folder of a profile's records."""
    return paths.paper() / "records" / profile


def tuning_dir(profile: str) -> Path:
    """Return the folder of the tuning's records, apart from those that tables are made of."""
    return paths.paper() / "records" / ("tuning" if profile == "laptop" else f"tuning-{profile}")


def tables_dir(profile: str) -> Path:
    """Return the folder of a profile's tables: the default profile's lie on top, so no other can be taken for them."""
    return paths.paper() / "tables" / ("" if profile == "laptop" else profile)


def figures_dir(profile: str) -> Path:
    """Return the folder of a profile's figures, by the rule of `tables_dir`."""
    return paths.paper() / "figures" / ("" if profile == "laptop" else profile)


def catalogue() -> dict[str, Path]:
    """Return every notebook by its stem, in reading order."""
    return {path.stem: path for path in sorted(paths.notebooks().glob("*.ipynb"))}


def select(only: str = "all") -> list[str]:
    """Return the stems that `only` asks for, in reading order: all, a group, or one notebook by its stem."""
    known = list(catalogue())
    require(only in ("all", *GROUPS, *known), "only", only, f"choose one of all, {', '.join([*GROUPS, *known])}")
    return known if only == "all" else list(GROUPS.get(only, (only,)))


@dataclass(frozen=True)
class Parameter:
    """What a notebook's parameters cell says about one name."""

    default: object
    types: tuple[str, ...]
    """Names of the accepted types, from the annotation or else from the default; none = any."""

    def accepts(self, value: object) -> bool:
        """Tell whether `value` has an accepted type; a whole number passes for a `float`, a truth value does not."""
        kind = "None" if value is None else type(value).__name__
        return not self.types or kind in self.types or (kind == "int" and "float" in self.types)


def declared(source: Path) -> dict[str, Parameter]:
    """Return what the cell tagged `parameters` declares; it holds assignments of literals and nothing else."""
    cells = json.loads(source.read_text())["cells"]
    tagged = ("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    return dict(_parameter(statement) for statement in ast.parse(next(tagged, "")).body)


def _parameter(statement: ast.stmt) -> tuple[str, Parameter]:
    match statement:
        case ast.AnnAssign(target=ast.Name(name), annotation=hint, value=ast.expr() as value):
            return name, Parameter(ast.literal_eval(value), tuple(ast.unparse(hint).split(" | ")))
        case ast.Assign(targets=[ast.Name(name)], value=value):
            default = ast.literal_eval(value)
            return name, Parameter(default, () if default is None else (type(default).__name__,))
    raise InputError("parameters", ast.unparse(statement), "the cell may only assign literals to names")


def check(source: Path, parameters: Mapping[str, object]) -> None:
    """Raise `InputError` for a name that the notebook does not declare, or a value of another type or not finite."""
    known = declared(source)
    for name, value in parameters.items():
        require(name in known, "parameter", name, f"{source.stem} has {', '.join(known)}")
        types = " or ".join(known[name].types)
        require(known[name].accepts(value), name, value, f"{source.stem} takes {types}")
        # papermill would write an infinity into the output as something that is not JSON.
        require(_is_json(value), name, value, "only plain values without inf and nan can be passed; none = no limit")


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


_ALONE = ("25_server_cost",)
"""Notebooks that measure time."""
_TRAIN_THEMSELVES = ("00_quickstart", "01_algorithm_step_by_step", "25_server_cost", *GROUPS["theory"])


def make(profile: str = "laptop", only: str = "all", fresh: bool = False, jobs: int | None = None) -> Iterator[Path]:
    """Execute the notebooks that `only` asks for and yield the copies in `paper/executed`, in reading order.

    As many run at a time as there are `jobs` (none = cores), those that measure time after the others and alone. Their
    runs are best trained before (`wanted.train_all`); `fresh` is for what only a notebook itself can make again.
    Without it, a notebook is not executed whose copy came from the same sources and records.
    """
    from fedecho.sweep import cores  # it brings torch, which the process that runs a notebook can do without

    folder = paths.paper() / "executed" / ("" if profile == "laptop" else profile)
    limit = _LIMITS.get(profile, max(_LIMITS.values()))
    stems = [stem for stem in select(only) if left_out(stem, profile) is None]
    nursery = Nursery(imported(stems), kernels.environment()) if usable() else None

    def make_one(stem: str) -> Path:
        wanted = {"profile": profile, "fresh": fresh and stem in _TRAIN_THEMSELVES, "jobs": jobs or 0}
        known = declared(catalogue()[stem])
        given = {name: value for name, value in wanted.items() if name in known}
        final = folder.resolve() / f"{stem}.ipynb"
        if not fresh and stamps.holds(final, stamps.source(catalogue()[stem], given)):
            return final
        return execute(stem, given, folder, limit, nursery)

    pool = ThreadPoolExecutor(jobs or cores())
    try:
        yield from pool.map(make_one, [stem for stem in stems if stem not in _ALONE])
        yield from (make_one(stem) for stem in stems if stem in _ALONE)
    finally:
        pool.shutdown(cancel_futures=True)
        if nursery is not None:
            nursery.close()


_ALWAYS = (
    "papermill",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "IPython.core.magics",
    "IPython.core.pylabtools",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "pandas.io.formats.style",
)
"""What runs a notebook, and what is imported only as a table or a figure is written."""


def imported(stems: Iterable[str]) -> list[str]:
    """Return the modules that notebooks import; a name that one takes from a module may be a module itself."""
    cells = [cell for stem in stems for cell in json.loads(catalogue()[stem].read_text())["cells"]]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return list(dict.fromkeys([*_ALWAYS, *(name for source in sources for name in _modules(source))]))


def _modules(source: str) -> Iterator[str]:
    plain = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
    with contextlib.suppress(SyntaxError):  # what only IPython understands
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def left_out(stem: str, profile: str) -> str | None:
    """Say why a notebook is not executed at a profile, none if it is: tables never start days of training."""
    if profile != "paper" or stem not in _TRAIN_THEMSELVES or stem in GROUPS["theory"]:
        return None
    return f"{stem}: it trains or measures the paper's scale itself and is left out; open it in JupyterLab to run it"


def execute(
    stem: str, parameters: Mapping[str, object], output_dir: Path, timeout: int, nursery: Nursery | None = None
) -> Path:
    """Run the notebook `stem` and return its executed copy, `output_dir/<stem>.ipynb`, with its stamp beside it.

    `timeout` is the limit in seconds for the whole notebook. Raises `InputError` before anything starts, or
    `NotebookError`; a failed run leaves `<stem>.partial.ipynb` and no executed copy, not even an older one.
    """
    known = catalogue()
    require(stem in known, "notebook", stem, f"choose one of {', '.join(known)}")
    require(timeout > 0, "timeout", timeout, "give a number of seconds > 0")
    check(known[stem], parameters)
    require(importlib.util.find_spec("papermill") is not None, "notebook", stem, "install fedecho[notebooks] first")
    output_dir.mkdir(parents=True, exist_ok=True)
    final, partial = (output_dir.resolve() / f"{stem}{suffix}" for suffix in (".ipynb", ".partial.ipynb"))
    for old in (stamps.path_of(final), final, partial):
        old.unlink(missing_ok=True)
    made_from = stamps.source(known[stem], parameters)
    job = {"source": str(known[stem]), "partial": str(partial), "parameters": dict(parameters), "timeout": timeout}
    outcome = kernels.attempt(job, nursery)
    if outcome["kind"] == "start":  # a busy machine; an error of a cell is never tried again
        outcome = kernels.attempt(job, nursery)
    if outcome["kind"] != "done":
        raise NotebookError(f"{stem}: {outcome['message']}; see {partial}")
    partial.replace(final)
    stamps.write(final, made_from, outcome["touched"])
    return final
