"""Nasty files and lines, each with what is wrong with it, how it is given, and what the one line has to name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedecho.core import own
from fedecho.core.files import use_data
from fedecho.core.records import load
from fedecho.core.settings import Delays
from fedecho.data import arrays, load as load_data, pack
from fedecho.learning import plugins
from fedecho.report import manifest, parameters
from fedecho.report.notebooks import catalogue
from fedecho.simulation.delays import job_times
from fedecho.studies import contenders


@dataclass(frozen=True)
class Nasty:
    """Something that has to be refused."""

    wrong: str
    """What is wrong with it; also the name of its test."""
    give: Callable[[Path], object]
    """Gives it to the package, in a folder that is empty."""
    names: str
    """A regular expression that the one line has to match."""


def field(wrong: str, values: dict[str, object], names: str) -> Nasty:
    return Nasty(wrong, lambda _: contenders.configure("fedecho", "smoke", 0, values), names)


def trace(wrong: str, text: str | bytes, names: str) -> Nasty:
    def give(folder: Path) -> object:
        path = folder / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return job_times(Delays("trace", trace=str(path)), (0, 0), 0)

    return Nasty(f"trace: {wrong}", give, names)


def record(wrong: str, text: str, names: str = r"record = .*a\.json") -> Nasty:
    def give(folder: Path) -> object:
        (folder / "a.json").write_text(text)
        return load(folder / "a.json")

    return Nasty(f"record: {wrong}", give, names)


def sealed(wrong: str, text: str) -> Nasty:
    def give(folder: Path) -> object:
        (folder / "a.json").write_text(text)
        return manifest.read(folder / "a.json")

    return Nasty(f"manifest: {wrong}", give, r"(a\.json|manifest)")


def index(wrong: str, content: object, names: str = "it is not an index") -> Nasty:
    def give(folder: Path) -> object:
        (folder / "index.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return pack.unpack(folder, folder / "there")

    return Nasty(f"pack: {wrong}", give, names)


def images(wrong: str, names: str, **given: object) -> Nasty:
    def give(folder: Path) -> object:
        whole = {"x": np.zeros((40, 8, 8), np.uint8), "y": np.arange(40) % 2} | given
        np.savez(folder / "x.npz", **{name: np.asarray(value) for name, value in whole.items()})
        return arrays.load_arrays(folder / "x.npz")

    return Nasty(f"arrays: {wrong}", give, names)


def archive(wrong: str, content: bytes, names: str = "must be a readable .npz|data = ") -> Nasty:
    def give(folder: Path) -> object:
        (folder / "x.npz").write_bytes(content)
        return arrays.load_arrays(folder / "x.npz")

    return Nasty(f"archive: {wrong}", give, names)


def parameter(wrong: str, stem: str, values: dict[str, object], names: str) -> Nasty:
    return Nasty(f"parameter: {wrong}", lambda _: parameters.read_all(catalogue()[stem], values), names)


def plugin(wrong: str, text: str, names: str = "plugin = ") -> Nasty:
    def give(folder: Path) -> object:
        (folder / "p.py").write_text(text)
        return plugins.load(folder / "p.py")

    return Nasty(f"plugin: {wrong}", give, names)


def zipped(**parts: bytes) -> bytes:
    """Return a zip archive with `<name>.npy` of these bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(f"{name}.npy", content)
    return out.getvalue()


def header(shape: str) -> bytes:
    """Return the beginning of an array that says a shape, and none of its content."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HUGE = 10**20
NUMBERS = (
    field("more clients than a float counts", {"protocol.clients": HUGE}, "protocol.clients = 1000"),
    field("more rounds than a type holds", {"protocol.rounds": HUGE}, "protocol.rounds = 1000"),
    field("a batch that no machine has", {"local.batch_size": HUGE}, "local.batch_size = 1000"),
    field("a seed that is negative", {"seed": -1}, "seed = -1"),
    field("a rate that is not a number", {"local.lr": float("nan")}, "local.lr = nan"),
    field("a rate without end", {"local.lr": float("inf")}, "local.lr = inf"),
    field("a truth for a number", {"seed": True}, "seed = True"),
    field("a fraction for a count", {"protocol.rounds": 1.5}, "protocol.rounds = 1.5"),
    field("a tail that overflows", {"delays.model": "pareto", "delays.shape": 1e-300}, "delays.shape = 1e-300"),
    field("a spread that overflows", {"delays.model": "lognormal", "delays.shape": 1e200}, "delays.shape = 1e\\+200"),
    field("a complex number", {"local.lr": 1 + 2j}, "local.lr = \\(1"),
    field("a list for a number", {"local.lr": [1, 2]}, "local.lr = \\("),
    field("bytes for a name", {"model": b"cnn"}, "model = b'cnn'"),
    field("a method without a name", {"method": {}}, "method = None"),
    field("a method whose name is a list", {"method": {"method": []}}, "method = \\[\\]"),
    field("a field that is none", {"protocol.client": 3}, "protocol.client = 3"),
    field("a field with a line break", {"a\nb": 3}, r"a\\nb = 3"),
    field("a field inside a number", {"seed.x": 3}, "seed.x = 3"),
    field("a field of no name", {"": 3}, " = 3"),
    field("a shape that has no meaning", {"delays.shape": 2.0}, "delays.shape = 2.0"),
    field("a mask on images", {"data.mask": False}, "data.mask = False"),
    field("a vocabulary of images", {"data.vocabulary": 500}, "data.vocabulary = 500"),
    field("a digest of a set that has none", {"data.sha256": "0"}, "sha256 = '0'"),
    field("a trace that no delay reads", {"delays.trace": "t.csv"}, "delays.trace = 't.csv'"),
)
PATHS = (
    field("a file that is not there", {"data.name": "none.npz"}, "data.name = 'none.npz'"),
    field("a name longer than a file may have", {"data.name": "x" * 300 + ".npz"}, "data.name = 'xxx"),
    field("a name with a null byte", {"data.name": "a\0b.npz"}, r"data.name = 'a\\x00b.npz'"),
    field("a name with a line break", {"data.name": "a\nb.npz"}, r"data.name = 'a\\nb.npz'"),
    field("the home of nobody", {"data.name": "~nobody-here/x.npz"}, "data.name = '~nobody-here"),
    field("a device for a trace", {"delays.model": "trace", "delays.trace": "/dev/zero"}, "delays.trace = '/dev/zero'"),
    field("a folder for a trace", {"delays.model": "trace", "delays.trace": "/tmp"}, "delays.trace = '/tmp'"),
    Nasty("a folder for data", lambda _: load_data(".."), "data = '\\.\\.'"),
    Nasty("a file for the data folder", lambda _: use_data(Path("/proc/version")), "data_root = '/proc/version'"),
    Nasty("a folder below a file", lambda _: use_data(Path("/proc/version/x")), "data_root = '/proc/version/x'"),
    Nasty("a folder's name too long", lambda _: use_data(Path("x" * 300)), "data_root = 'xxx"),
    Nasty("a module of no name", lambda _: own.function("..:x", "model"), "model = '\\.\\.'"),
    Nasty("a module with a null byte", lambda _: own.function("a\0b:x", "model"), r"model = 'a\\x00b'"),
)
TRACES = (
    trace("nothing", "", "columns are \\[\\]"),
    trace("no header", "0,1\n1,2\n", "columns are \\['0', '1'\\]"),
    trace("semicolons", "client;duration\n0;1\n1;2\n", "columns are \\['client;duration'\\]"),
    trace("a decimal comma", "client,duration\n0,3\n1,3,75\n", "line 3 = .*the header has 2 columns, this line 3"),
    trace("a row too short", "client,duration\n0,1\n1\n", "line 3 = .*this line 1"),
    trace("a time that overflows", "client,duration\n0,1e400\n1,1\n", "line 2 = inf"),
    trace("times whose sum overflows", "client,duration\n0,1e308\n1,1\n", "line 2 = 1e\\+308"),
    trace("a time of nothing", "client,duration\n0,0\n1,1\n", "line 2 = 0"),
    trace("a time too small to add", "client,duration\n0,1e-300\n1,1\n", "line 2 = 1e-300"),
    trace("half a client", "client,duration\n0.5,1\n1,1\n", "line 2 = .*whole client"),
    trace("a client of nobody", "client,duration\n7,1\n1,1\n", "line 2 = 7"),
    trace("a client too few", "client,duration\n0,1\n", "no job for client 1"),
    trace("another encoding", b"client,duration\n0,1\xff\n", "trace = .*no CSV text"),
    trace("a cell without end", "client,duration\n0," + "1" * 200_000 + "\n", "trace = .*no CSV text"),
    trace("a quote that stays open", 'client,duration\n0,"1\n1,1\n', "trace = .*no CSV text"),
)
RECORDS = (
    record("nothing", ""),
    record("a list", "[]"),
    record("a number", "1"),
    record("nested deeply", "[" * 100_000),
    record("an object nested deeply", '{"a":' * 100_000),
    record("a name twice", '{"hash": "a", "hash": "b"}'),
    record("a number without end", '{"hash": 1e999}'),
    record("a number of 5,000 digits", '{"hash": ' + "9" * 5000 + "}"),
    record("no digest", '{"hash": "a"}', "sha256 is None"),
    Nasty("record: a folder", lambda folder: load(folder), "record = "),
    Nasty("record: a device", lambda _: load(Path("/dev/zero")), "record = '/dev/zero'"),
    sealed("nothing", ""),
    sealed("a list", "[]"),
    sealed("nested deeply", "[" * 100_000),
    sealed("no field", "{}"),
)
PACKS = (
    index("a list", []),
    index("nested deeply", "[" * 100_000),
    index("no name", {"": {}}),
    index("the folder above", {"..": {"...00": ""}}),
    index("a hidden file", {".bashrc": {".bashrc.00": ""}}),
    index("a name too long", {"x" * 300: {"x" * 300 + ".00": ""}}),
    index("a part elsewhere", {"cifar10.npz": {"../cifar10.npz.00": ""}}),
    index("a file of no parts", {"cifar10.npz": {}}),
    index("a part that is not there", {"cifar10.npz": {"cifar10.npz.00": "0"}}, "part = .*not there"),
)
ARRAYS = (
    images("no labels for most", "y = ", y=np.arange(3)),
    images("labels of fractions", "y = ", y=np.zeros(40)),
    images("a label below 0", "y = -1", y=np.arange(40) - 1),
    images("a label too large for a type", "y = 1844", y=np.full(40, 2**64 - 1, np.uint64)),
    images("a label that would need all memory", "y = 1000000000000", y=np.full(40, 10**12)),
    images("images of words", "x = ", x=np.full((40, 8, 8), "a")),
    images("images not finite", "x = .*NaN", x=np.full((40, 8, 8), np.nan)),
    images("a flat image", "x = ", x=np.zeros(40, np.uint8)),
    images("no image", "x = ", x=np.zeros((0, 8, 8), np.uint8), y=np.zeros(0, int)),
    images("a pool of another shape", "pool = ", pool=np.zeros((40, 9, 9), np.uint8)),
    images("objects", "without pickles", x=np.array([None] * 40)),
    archive("nothing", b""),
    archive("no archive", b"x = 1"),
    archive("an array alone", header("(3,)")),
    archive("cut off", zipped(x=header("(3,)"))[:-30]),
    archive("a header of a terabyte", zipped(x=header("(1000000000000,)"), y=b""), "its header says 1,000,000,000,000"),
    archive("a header of no language", zipped(x=header("(("), y=b"")),
    archive("a header without content", zipped(x=b"", y=b"")),
)
PARAMETERS = (
    parameter("a number for a word", "10_table_vision", {"profile": 3}, "profile = 3"),
    parameter("a name that nobody declared", "10_table_vision", {"sede": [1]}, "parameter = 'sede'"),
    parameter("more processes than a float counts", "10_table_vision", {"jobs": 10**400}, "jobs = 1000"),
    parameter("a number without end", "20_ablation_alpha", {"alphas": [float("inf")]}, "alphas = \\[inf\\]"),
    parameter("a number too large to be one", "20_ablation_alpha", {"alphas": [10**400]}, "alphas = "),
    parameter("a list nested deeply", "20_ablation_alpha", {"alphas": "[" * 5000}, "alphas = "),
    parameter("a word for a list", "20_ablation_alpha", {"alphas": "much"}, "alphas = 'much'"),
)
PLUGINS = (
    plugin("no Python", "def"),
    plugin("registers nothing", "x = 1"),
    plugin("ends the process", "raise SystemExit(0)", "plugin = .*SystemExit"),
    plugin("fails", "1 / 0", "plugin = .*ZeroDivisionError"),
    Nasty("plugin: another file type", lambda _: plugins.load(Path("/proc/version")), "plugin = '/proc/version'"),
)
ALL = (*NUMBERS, *PATHS, *TRACES, *RECORDS, *PACKS, *ARRAYS, *PARAMETERS, *PLUGINS)
