"""A method, data, a model and delays of the user's own: short, hashed by content, at home wherever ours are."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedecho import configure
from fedecho.cli import main
from fedecho.core import files, records
from fedecho.core.checks import InputError
from fedecho.core.config import METHODS, RunConfig, config_hash, override, override_all, to_dict
from fedecho.core.rng import stream
from fedecho.core.settings import Data, Delays
from fedecho.data import arrays, npz
from fedecho.learning import plugins
from fedecho.learning.experiment import run
from fedecho.learning.inputs import read
from fedecho.learning.pins import pin
from fedecho.learning.resume import Keeper, Paused
from fedecho.simulation.delays import job_times
from fedecho.studies import TABLES, contenders, grid, sweep, verify
from fedecho.studies.tuning import tuning_of

EXAMPLES = files.REPOSITORY / "notebooks" / "own"
METHOD, MODEL = f"{EXAMPLES}/my_method.py", f"{EXAMPLES}/my_models.py:mlp"
DELAYS = {"delays.model": "function", "delays.function": f"{EXAMPLES}/my_delays.py:commuters"}
SMALL = {"data.train_size": None, "data.pool_size": 20, "partition.kind": "iid", "partition.min_size": 1,
         "protocol.rounds": 2}  # fmt: skip


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Records elsewhere, and no trace of a plugin for the tests that follow."""
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)
    for name in [name for name in sys.modules if name.startswith("fedecho_own_")]:
        del sys.modules[name]


def made(count: int = 200, classes: int = 4, side: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    """Images whose brightness tells the class."""
    y = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 30, (count, side, side))
    return {"x": (60 * y[:, None, None] + noise).astype(np.uint8), "y": y}


@pytest.fixture
def data(tmp_path: Path) -> str:
    npz.write(tmp_path / "mine.npz", made())
    return str(tmp_path / "mine.npz")


@pytest.fixture
def everything(data: str) -> RunConfig:
    """All four at once."""
    return configure(f"{METHOD}:coordinate_median", "smoke", 0, {**SMALL, "data.name": data, "model": MODEL, **DELAYS})


# Short


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_has_at_most_20_lines(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert 0 < len(lines) <= 20


def test_the_median_by_hand() -> None:
    plugins.load(Path(METHOD))
    step = sys.modules[METHODS["coordinate_median"].__module__].step
    from tests.conftest import an_update, weights

    updates = [an_update([1.0, 0.0], client=0), an_update([2.0, 9.0], client=1), an_update([9.0, 4.0], client=2)]
    config = METHODS["coordinate_median"](server_lr=0.5)  # type: ignore[call-arg]
    assert step(config, updates, weights(10.0, 10.0)).params.tolist() == [11.0, 12.0]


def test_each_alone_trains(data: str) -> None:
    one = {"data.name": data, **SMALL}
    for method, changes in (
        (f"{METHOD}:coordinate_median", {**SMALL, "data.train_size": 500}), ("fedecho", one),
        ("fedbuff", {**SMALL, "data.train_size": 500, "model": MODEL}),
        ("fedbuff", {**SMALL, "data.train_size": 500, **DELAYS}),
    ):  # fmt: skip
        assert run(configure(method, "smoke", 0, changes)).status == "done"


def test_a_round_that_ends_in_no_model_is_the_method_s_fault(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(Path(METHOD).read_text().replace("return Weights(", "return ("))
    with pytest.raises(InputError, match="method = 'coordinate_median' is not usable: its close_round has to return"):
        run(configure(f"{tmp_path}/m.py:coordinate_median", "smoke", 0, {"protocol.rounds": 1}))


# Content, not place


def test_a_hash_names_contents_wherever_they_lie(everything: RunConfig, data: str, tmp_path: Path) -> None:
    plugins_moved = tmp_path / "other"
    plugins_moved.mkdir()
    for path in (*EXAMPLES.glob("*.py"), Path(data)):
        (plugins_moved / path.name).write_bytes(path.read_bytes())
    there = {
        "data.name": str(plugins_moved / "mine.npz"), "model": f"{plugins_moved}/my_models.py:mlp",
        "delays.function": f"{plugins_moved}/my_delays.py:commuters",
    }  # fmt: skip
    same = pin(override_all(replace(everything, model="cnn", model_sha256=None, data=Data(), delays=Delays()), {
        **SMALL, **DELAYS, **there,
    }))  # fmt: skip
    assert config_hash(same) == config_hash(everything)
    values = to_dict(everything)
    for part, name in ((values["method"], "plugin_sha256"), (values["data"], "sha256"), (values, "model_sha256"),
                       (values["delays"], "function_sha256")):  # fmt: skip
        assert part[name] == files.file_sha256(Path(part.get("plugin") or {
            "sha256": data, "model_sha256": MODEL[:-4], "function_sha256": DELAYS["delays.function"][:-10],
        }[name]))  # fmt: skip
    for place in (("data", "sha256"), ("model_sha256",), ("delays", "function_sha256")):
        other = override(everything, ".".join(place), "0" * 64)
        assert config_hash(other) != config_hash(everything)


def test_a_changed_file_is_another_run(everything: RunConfig, tmp_path: Path) -> None:
    changed = tmp_path / "my_method.py"
    changed.write_text(Path(METHOD).read_text().replace("1.0", "0.9"))
    METHODS.pop("coordinate_median")
    other = configure(f"{changed}:coordinate_median", "smoke", 0)
    assert other.method.server_lr == 0.9  # type: ignore[attr-defined]
    assert type(other.method).plugin_sha256 != type(everything.method).plugin_sha256


def test_what_is_not_pinned_has_no_hash_and_imports_nothing() -> None:
    config = RunConfig(METHODS["fedbuff"](), model="no_such_module:model")
    with pytest.raises(InputError, match="filled in by pins.pin"):
        config_hash(config)


def test_a_record_never_leads_to_an_import(everything: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "records" / "x.json"
    record = run(everything)
    path = records.record_path(tmp_path / "records", everything)
    records.save(record, path)
    assert records.load(path).run_config() == everything  # with the plugin at hand
    with pytest.raises(InputError, match="plugin = .*my_models.py:mlp.* name it too"):
        list(verify.verify([path], 1))
    METHODS.pop("coordinate_median")
    moved = path.rename(path.with_name(f"{path.stem}.json.copy"))  # read anew
    path.write_bytes(moved.read_bytes())
    with pytest.raises(InputError, match=f"plugin = .*{path.name}: .*code of a user's own.*with --plugin$") as caught:
        records.RUNS.load(path)
    assert caught.value.code == 2  # the record itself is sound


# At home where ours are


@pytest.mark.slow
def test_in_a_worker_process_to_the_same_last_bit(everything: RunConfig, tmp_path: Path) -> None:
    sweep.sweep({tmp_path / "mine": [everything]}, jobs=1)
    found = records.find(tmp_path / "mine", everything)
    assert found is not None and found.rows == run(everything).rows


def test_verified_where_its_code_is_named(
    everything: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(todo: list[sweep.Wanted], **_: Any) -> Iterator[RunConfig]:
        for folder, config in todo:
            sweep.run_and_save(config, folder)
            yield config

    monkeypatch.setattr(sweep, "each", here)
    sweep.run_and_save(everything, tmp_path / "mine")
    (path,) = (tmp_path / "mine").glob("*.json")
    (outcome,) = verify.verify([path], jobs=1, named=[MODEL, DELAYS["delays.function"]])
    assert outcome.identical


def test_a_config_travels_as_the_file_of_its_plugin(everything: RunConfig, tmp_path: Path) -> None:
    """As to Ray's workers, which know nothing of this process."""
    copy = tmp_path / "my_method.py"
    copy.write_text(Path(METHOD).read_text() + "\n# another file\n")
    METHODS.pop("coordinate_median")
    config = configure(f"{copy}:coordinate_median", "smoke")
    packed = pickle.dumps(config)
    METHODS.pop("coordinate_median")
    del sys.modules[type(config.method).__module__]
    again = pickle.loads(packed)
    assert config_hash(again) == config_hash(config) and type(again.method) is METHODS["coordinate_median"]
    copy.write_text(copy.read_text() + "\n# changed\n")
    METHODS.pop("coordinate_median")
    with pytest.raises(InputError, match="was changed while"):
        pickle.loads(packed)


def test_a_run_is_resumed(everything: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(Paused):
        run(everything, keeper=Keeper(path, deadline=0.0))
    keeper = Keeper(path)
    assert run(everything, keeper=keeper).rows == run(everything).rows and keeper.begun == 1


def test_tuned_as_others(data: str) -> None:
    plugins.load(Path(METHOD))
    contender = contenders.contender_of("Coordinate_Median", {"local.lr": (0.01, 0.1)})
    study = tuning_of(contender, "smoke", changes={}, count=2, refinements=0, seeds=[1000])
    assert {config.method for config in study.configs} == {METHODS["coordinate_median"]()}
    assert study.custom and len(study.configs) == 3


def test_as_a_notebooks_methods() -> None:
    study = TABLES["vision"]("smoke", methods=[f"{METHOD}:coordinate_median", "FedBuff"], seeds=[0])
    rows = {cell.method for cell in study.asked()}
    assert rows == {"coordinate_median", "FedBuff", "FedEcho"}
    with pytest.raises(InputError, match="methods of .* are coordinate_median"):
        grid.plain([f"{METHOD}:mean"])
    assert "coordinate_median" not in {cell.method for cell in TABLES["vision"]("smoke").asked()}


def test_records_go_to_a_folder_of_the_users(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{name}={'none' if value is None else value}" for name, value in SMALL.items()]
    line = ["run", "--profile", "smoke", "--plugin", METHOD, "--method", "coordinate_median", "--set", *words]
    main.main([*line, "--set", f"data.name={data}"])
    (path,) = (tmp_path / "build" / "own" / "smoke").glob("coordinate_median-*.json")
    assert f"record: {path}" in capsys.readouterr().out and f'"plugin_sha256": "{files.file_sha256(Path(METHOD))}"' in (
        path.read_text()
    )
    main.main(["show", path.stem.split("-")[1], "--plugin", METHOD])
    assert "coordinate_median on" in capsys.readouterr().out


# Arrays


def test_splits_are_alike_in_every_class_and_disjoint(data: str) -> None:
    splits = arrays.load_arrays(Path(data))
    sizes = {"train": 100, "pool": 40, "validation": 20, "test": 40}
    assert {part: len(getattr(splits, part)) for part in sizes} == sizes
    for part in ("train", "validation", "test"):
        assert len(set(np.bincount(getattr(splits, part).labels))) == 1
    parts = [image.tobytes() for part in sizes for image in getattr(splits, part).images]
    assert len(set(parts)) == 200 and splits.pool is not None and splits.pool.labels is None


def test_moments_are_those_of_the_clients_images(data: str) -> None:
    inputs = read(configure("fedbuff", "smoke", 0, {**SMALL, "data.name": data, "model": MODEL}), torch.device("cpu"))
    assert float(inputs.clients.images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inputs.clients.images.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_floats_order_and_channels(tmp_path: Path) -> None:
    whole, backwards = made(), {name: array[::-1] for name, array in made().items()}
    npz.write(tmp_path / "a.npz", {**whole, "x": whole["x"] / 255})
    npz.write(tmp_path / "b.npz", {"x": backwards["x"][..., None], "y": backwards["y"].astype(np.int32)})
    one, two = (arrays.load_arrays(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert one.digest == two.digest and np.array_equal(one.train.images, two.train.images)


def test_a_pool_of_another_source_leaves_the_rest_to_the_clients(tmp_path: Path) -> None:
    npz.write(tmp_path / "a.npz", {**made(), "pool": np.zeros((7, 8, 8), np.uint8)})
    splits = arrays.load_arrays(tmp_path / "a.npz")
    assert len(splits.train) == 140 and splits.pool is not None and len(splits.pool) == 7


X, Y = made()["x"], made()["y"]
BAD_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"x": X}, "must hold the arrays x, y"),
    ({"x": X[0], "y": Y}, r"x = 'uint8 \(8, 8\)' .*images, height, width"),
    ({"x": X.astype(np.int64), "y": Y}, "x = 'int64 .*give uint8, or floats"),
    ({"x": np.where(X[0, 0, 0] == X, np.nan, X / 255), "y": Y}, "x = .*NaN"),
    ({"x": X.astype(float), "y": Y}, r"x = \[.*floats have to be in \[0, 1\]"),
    ({"x": X, "y": Y[:-1]}, r"y = 'int64 \(199,\)' .*each of the 200"),
    ({"x": X, "y": Y / 2}, "y = 'float64 .*whole numbers"),
    ({"x": X, "y": Y - 1}, "y = -1 .*from 0"),
    ({"x": X, "y": 0 * Y}, "y = .*two classes"),
    ({"x": X, "y": np.where(Y == 3, 4, Y)}, "y = 3 .*class 3 has 0 images"),
    ({"x": X, "y": np.where((Y == 3) & (np.arange(200) > 20), 0, Y)}, "class 3 has 5 images; give at least 10"),
    ({"x": X, "y": Y, "pool": X[:, :4]}, r"pool = \(4, 8, 1\) .*as those of x, \(8, 8, 1\)"),
    ({"x": X, "y": Y, "pool": Y}, "pool = 'int64"),
]


@pytest.mark.parametrize(("given", "said"), BAD_ARRAYS)
def test_arrays_that_do_not_fit(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    npz.write(tmp_path / "a.npz", given)
    with pytest.raises(InputError, match=said) as caught:
        arrays.load_arrays(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


# Delays


def test_each_client_asks_with_a_stream_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text("def f(client, rng):\n    return 1 + client + rng.random()\n")
    delays = Delays("function", function=f"{tmp_path}/d.py:f")
    times = job_times(delays, (0, 0), 3)
    second = stream(3, "job-times", 1)
    assert [times(1, 0.0), times(0, 0.0), times(1, 5.0)][::2] == [2 + second.random(), 2 + second.random()]


def test_own_kinds_of_delay_in_the_notebook_about_them() -> None:
    kinds = [f"{EXAMPLES}/jobs.csv", DELAYS["delays.function"]]
    study = TABLES["ablation_delay"]("laptop", delays=["mild", *kinds], methods=["FedBuff"], seeds=[0])
    found = {cell.delay: cell.config.delays.model for cell in study.asked()}
    assert found == {"mild": "mild", "jobs": "trace", "commuters": "function"}
    assert all(config_hash(cell.config) for cell in study.asked())


def test_a_trace_of_other_clients_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text("client,duration\n" + "".join(f"{client},1\n" for client in range(21)))
    with pytest.raises(InputError, match="line 22 = 20 is not usable: clients are numbered 0 to 19"):
        TABLES["ablation_delay"]("smoke", delays=[str(trace)])


# Bad input


BAD_FILES = {
    "broken.py": "import no_such_module_anywhere\n",
    "empty.py": "x = 1\n",
    "taken.py": Path(METHOD).read_text().replace("coordinate_median", "fedbuff"),
    "unregistered.py": Path(METHOD).read_text().split("register(C")[0],
    "m.py": "from torch import nn\n\n\n"
            "def wide(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 7))\n\n\n"
            "def text(shape, classes):\n    return 'x'\n\n\ndef none(shape, classes):\n    return nn.Flatten()\n\n\n"
            "def few(shape, classes):\n    return nn.Linear(3, classes)\n",
    "d.py": "def zero(client, rng):\n    return 0\n\n\ndef fails(client, rng):\n    return 1 / 0\n",
}  # fmt: skip
BAD: list[tuple[list[str], str, str]] = [
    (["--plugin", "none.py"], "plugin = ", "no such file"),
    (["--plugin", "broken.py"], "plugin = ", "cannot be imported (ModuleNotFoundError"),
    (["--plugin", "empty.py"], "plugin = ", "registers no method"),
    (["--plugin", "taken.py"], "plugin = ", "a method fedbuff already"),
    (["--plugin", "unregistered.py"], "plugin = ", "register(CoordinateMedian"),
    (["--method", "empty.py:x"], "plugin = ", "registers no method"),
    (["--set", "model=m.py:absent"], "model = ", "no function absent"),
    (["--set", "model=absent_module:f"], "model = ", "cannot be imported"),
    (["--set", "model=m.py:wide"], "model = ", "it has to give logits [2, 10], not [2, 7]"),
    (["--set", "model=m.py:text"], "model = ", "torch.nn.Module"),
    (["--set", "model=m.py:none"], "model = ", "without parameters"),
    (["--set", "model=m.py:few"], "model = ", "it fails (RuntimeError"),
    (["--set", "delays.model=function"], "delays.function = None", "module:function"),
    (["--set", "delays.function=d.py:zero"], "delays.function = 'd.py:zero'", "exactly when"),
    (["--set", "delays.model=function", "delays.function=d.py:zero"], "delays.function = 0", "> 0"),
    (["--set", "delays.model=function", "delays.function=d.py:fails"], "delays.function = ", "ZeroDivisionError"),
    (["--set", "data.name=none.npz"], "data.name = 'none.npz'", "no such file"),
    (["--set", "data.sha256=x"], "data.sha256 = 'x'", "leave it out"),
]


@pytest.mark.parametrize(("more", "field", "said"), BAD, ids=lambda value: str(value)[-30:])
def test_bad_input_is_one_line(
    more: list[str], field: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, text in BAD_FILES.items():
        (tmp_path / name).write_text(text)
    before = dict(METHODS)
    with pytest.raises(SystemExit) as stop:
        main.main(["run", "--profile", "smoke", *(["--method", "fedbuff"] if "--method" not in more else []), *more])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and field in line and said in line and before == METHODS
