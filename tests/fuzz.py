"""The entrances of the package and hostile values for each, made by hypothesis."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import strategies as st

from fedecho.cli import main, words
from fedecho.core.checks import InputError
from fedecho.core.config import config_hash, from_dict, to_dict
from fedecho.core.records import load
from fedecho.core.settings import Delays
from fedecho.data import arrays, pack
from fedecho.learning import experiment
from fedecho.report import notebooks, parameters
from fedecho.simulation.delays import job_times
from fedecho.studies import contenders, sweep

ODD = st.sampled_from([
    "", " ", "-1", "0", "1e400", "nan", "9" * 30, "9" * 5000, "..", "/dev/zero", "/proc/version", "~nobody/x", "a\nb",
    "\x1b[31m", "x" * 300, "x" * 300 + ".npz", "{[]: 1}", "{}", "{'method': []}", "-" * 3000 + "1", "[[1], [2]]",
    "(1, 2)", "1+2j", "b'x'", "none", "true", "os:system", "a\0b:c", "'a\\0.npz'", "smoke", "0.5", "1e-320", "--", "=",
])  # fmt: skip
"""Words that came through once, or look as if they might."""
WORDS = ODD | st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.integers().map(str)
_CONFIG = {
    "seed", "data.name", "data.pool", "data.pool_size", "data.train_size", "data.task", "data.vocabulary", "model",
    "partition.alpha", "partition.kind", "partition.straggler_classes", "protocol.clients", "protocol.rounds",
    "protocol.buffer_size", "delays.model", "delays.shape", "delays.trace", "delays.function", "delays.speed_counts",
    "local.lr", "local.batch_size", "method", "method.distill", "method.distill.lr", "method.inner", "evaluation.every",
    "execution.inference_batch", "data", "protocol.max_delta_norm",
}  # fmt: skip
FIELDS = st.sampled_from(sorted(_CONFIG)) | st.text(max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_OPTIONS = {
    "run": ("--method", "--profile", "--seed", "--set", "--plugin", "--save-model", "--records", "--device"),
    "show": ("", "--plugin"),
    "compare": ("", "--methods", "--set", "--seeds", "--profile", "--jobs"),
    "sweep": ("--profile", "--only", "--budget", "--jobs", "--device", "--data-root"),
    "tune": ("--method", "--profile", "--space", "--set", "--trials", "--refinements", "--seeds", "--jobs"),
    "verify": ("--sample", "--profile", "--only", "--records", "--plugin", "--seed", "--jobs"),
    "tables": ("--only", "--profile", "--jobs"), "cite": ("", "--profile"), "data": ("list", "fetch"), "latex": (),
}  # fmt: skip


class Reached(BaseException):
    """Work was about to begin, so that all input has been found usable."""


def stop(*_: Any, **__: Any) -> NoReturn:
    """Stand where work begins."""
    raise Reached


def walled(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Let nothing train, execute or ask a network."""
    for place, name in ((sweep, "each"), (sweep, "run_and_save"), (experiment, "run"), (notebooks, "make")):
        patch.setattr(place, name, stop)
    for place in ("fedecho.data.fetch", "fedecho.studies.sweep.sweep", "fedecho.studies.budget.work_off"):
        patch.setattr(place, stop)
    patch.setenv("FEDECHO_PAPER", str(home / "paper"))
    patch.setenv("FEDECHO_DATA", str(home / "data"))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Return a command with an option or two of its own, and odd values."""
    name = draw(st.sampled_from(sorted(_OPTIONS)))
    args = [name]
    for option in draw(st.lists(st.sampled_from(_OPTIONS[name] or ("",)), max_size=2)):
        value = draw(WORDS | st.tuples(FIELDS, WORDS).map("=".join))
        args += [part for part in (option, value) if part or not option]
    return args


def of_command(args: list[str]) -> None:
    """Give a command line."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.main(args)
    except SystemExit as ended:
        lines = err.getvalue().splitlines()
        if ended.code == 2 and len(lines) == 1 and lines[0].startswith("fedecho: "):
            raise InputError("arguments", args, lines[0]) from None
        if ended.code not in (0, None):
            raise AssertionError(f"{args}: exit code {ended.code}: {err.getvalue()[-2000:]}") from None


def of_config(assignment: tuple[str, str]) -> None:
    """Change a field, and send the outcome through JSON."""
    config = contenders.configure("fedecho", "smoke", 0, words.values_of(["=".join(assignment)]))
    again = from_dict(type(config), json.loads(json.dumps(to_dict(config))))
    assert config_hash(again) == config_hash(config)


def in_folder(name: str, content: str | bytes, read: Callable[[Path], object]) -> None:
    """Let a file of such a content be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        read(path)
        assert [each.name for each in Path(folder).iterdir()] == [name]


def of_record(content: object) -> None:
    """Read a record of such a content."""
    in_folder("a.json", content if isinstance(content, str) else json.dumps(content), load)


def of_trace(text: str) -> None:
    """Read a trace of two clients."""
    in_folder("t.csv", text, lambda path: job_times(Delays("trace", trace=str(path)), (0, 0), 0))


def of_pack(content: object) -> None:
    """Unpack what such an index lists."""
    in_folder("index.json", json.dumps(content), lambda path: pack.unpack(path.parent, path.parent / "there"))


def of_bytes(content: bytes) -> None:
    """Read arrays from such bytes."""
    in_folder("x.npz", content, arrays.load_arrays)


def of_parameter(given: tuple[str, str, object]) -> None:
    """Give a notebook a parameter."""
    stem, name, value = given
    parameters.read_all(notebooks.catalogue()[stem], {name: value})


def _damaged(places: list[tuple[int, int]]) -> bytes:
    """Return an archive with some bytes replaced."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((40, 4, 4), np.uint8), y=np.arange(40) % 2)
    content = bytearray(buffer.getvalue())
    for place, value in places:
        content[place % len(content)] = value
    return bytes(content)


_PLACES = st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=4)
_CELLS = st.lists(
    st.sampled_from(["client", "duration", "0", "1", "3,75", ";", "1e308", "-1", "nan", "\ufeff", '"', ""])
)
_STEMS = ("10_table_vision", "20_ablation_alpha", "00_quickstart", "25_server_cost")
ENTRANCES: dict[str, tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = {
    "configs": (of_config, st.tuples(FIELDS, WORDS)),
    "command lines": (of_command, command_lines()),
    "records": (of_record, JSON | st.text()),
    "traces": (of_trace, st.lists(_CELLS.map(",".join)).map("\n".join).map(lambda rows: f"client,duration\n{rows}")
               | st.text()),
    "packs": (of_pack, JSON | st.dictionaries(WORDS | st.just("cifar10.npz"), st.dictionaries(WORDS, WORDS))),
    "arrays": (of_bytes, st.binary() | _PLACES.map(_damaged)),
    "parameters": (of_parameter, st.tuples(
        st.sampled_from(_STEMS), st.sampled_from(["profile", "jobs", "fresh", "seeds", "alphas", "x"]), WORDS | JSON
        | st.integers(min_value=10**400))),
}  # fmt: skip
"""What is given to the package -> what takes it, and what to give."""


def answered(entrance: str, value: Any) -> bool:
    """Give a value to an entrance; tell whether it was refused, in one line; any other exception goes through."""
    try:
        ENTRANCES[entrance][0](value)
    except Reached:
        return False
    except InputError as error:
        assert str(error).isprintable()
        return True
    return False
