"""Changes the numerics one operator or number at a time; a change that no fast test notices is listed.

`make mutants` calls it; CI does not. cosmic-ray makes the changes. It would start Python for each one and edit the file
itself: here a process is forked that has the libraries imported, and the changed module exists in it alone.

    python -m tests.mutants [--sample 12] [--seed 0] [MODULE ...]
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "core/stats": "stats summary", "simulation/schedule": "schedule", "simulation/events": "schedule",
    "simulation/partition": "partition",
    "learning/distill": "distill weighting", "learning/teacher": "distill teacher_study",
    "learning/bank": "bank bank_forms",
    "learning/client": "local augment methods", "learning/weighting": "weighting", "learning/certainty": "certainty",
    "learning/gate": "gate", "learning/methods/*": "methods contract",
}  # fmt: skip
"""Module -> the tests that are to notice what changes in it."""
_BINARY = [
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Mul_Add", "FloorDiv_Div", "Pow_Mul", "Mod_Mul", "BitAnd_BitOr",
]  # fmt: skip
_COMPARED = [
    "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
]  # fmt: skip
OPERATORS = [
    *(f"core/ReplaceBinaryOperator_{name}" for name in _BINARY),
    *(f"core/ReplaceComparisonOperator_{name}" for name in _COMPARED),
    "core/ReplaceUnaryOperator_USub_UAdd", "core/NumberReplacer", "core/AddNot", "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd", "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue", "core/ZeroIterationForLoop",
]  # fmt: skip
LIMIT = 60
"""Seconds of CPU time after which a change counts as noticed: it goes on without end."""


class Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Gives one module another text."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        self._name, self._path, self._text = name, path, text

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._name else None

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._text.encode()

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._text, str(self._path), "exec", dont_inherit=True), vars(module))


class Unshrunk:
    """A plugin of pytest: that an example fails is enough, and no smaller one is looked for."""

    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("unshrunk")


def bare(text: str) -> str:
    """Return what runs: without annotations that only say a type, which nothing evaluates."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Yield each change of a text: its operator, and the text."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    plain = bare(text)
    for name in OPERATORS:
        place = 0
        while (changed := mutate_code(text, get_operator(name)(), place)) is not None:
            place += 1
            with contextlib.suppress(SyntaxError):
                if bare(changed) != plain:
                    yield name.removeprefix("core/"), changed


def line_of(old: str, new: str) -> str:
    """Return the first line that differs, before and after."""
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    return next((f"{n}: {a.strip()}  ->  {b.strip()}" for n, (a, b) in enumerate(pairs, 1) if a != b), "?")


def noticed(module: str, path: Path, text: str, tests: list[str]) -> bool:
    """Tell whether tests fail once a module has another text."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        sys.meta_path.insert(0, Changed(module, path, text))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        marks = "not benchmark and not browser and not cluster"  # the slow ones too
        arguments = ["-q", "-x", "-m", marks, "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        os._exit(int(pytest.main(arguments, plugins=[Unshrunk()]) != 0))
    return os.waitpid(child, 0)[1] != 0


def examine(name: str, tests: list[str], sample: int, seed: int) -> str:
    """Try the changes of a module, so many of them drawn at random (0 = all); print the survivors, return the count."""
    path = ROOT / "fedecho" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    module = f"fedecho.{name.replace('/', '.')}"
    if noticed(module, path, text, tests):
        sys.exit(f"mutants: the tests of {name} fail as it is")
    known = list(mutants(text))
    chosen = random.Random(f"{seed} {name}").sample(known, min(sample or len(known), len(known)))
    left = [(how, changed) for how, changed in chosen if not noticed(module, path, changed, tests)]
    for how, changed in left:
        print(f"survived: {name}:{line_of(text, changed)}  [{how}]", flush=True)
    return f"{name}: {len(chosen) - len(left)} killed of {len(chosen)} tried of {len(known)}"


def chosen_modules(wanted: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield modules and the files of their tests."""
    for pattern, tests in TESTS.items():
        files = [f"{ROOT}/tests/test_{test}.py" for test in tests.split()]
        for path in sorted((ROOT / "fedecho").glob(f"{pattern}.py")):
            name = path.relative_to(ROOT / "fedecho").with_suffix("").as_posix()
            if path.stem != "__init__" and (not wanted or name in wanted):
                yield name, files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--sample", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for library in ("torch", "scipy.stats", "pandas", "matplotlib.pyplot"):
        importlib.import_module(library)  # once, for all that are forked
    for name, tests in chosen_modules(given.modules):
        print(examine(name, tests, given.sample, given.seed), flush=True)


if __name__ == "__main__":
    main()
