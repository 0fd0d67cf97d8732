"""Every other way of carrying out the arithmetic agrees with the plain one, up to the rounding that it names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedecho.core.checks import InputError
from fedecho.core.config import override
from fedecho.core.records import Record
from fedecho.core.settings import Execution, Local
from fedecho.learning import experiment, models
from fedecho.learning.client import ClientData, sgd
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel
from fedecho.learning.methods import FedEcho
from tests.test_experiment import tiny

SHAPE = (3, 32, 32)
WAYS = {
    "channels_last": (Execution(channels_last=True), 1e-5),
    "autocast": (Execution(autocast="bfloat16"), 3e-2),
    "both": (Execution(channels_last=True, autocast="bfloat16"), 3e-2),
}
every_way = pytest.mark.parametrize(("execution", "close"), WAYS.values(), ids=WAYS)


def model(execution: Execution = Execution(), name: str = "cnn-batchnorm") -> FlatModel:  # noqa: B008
    return FlatModel(models.build(name, SHAPE, 10, 0), execution)


def client(count: int = 40) -> ClientData:
    generator = torch.Generator().manual_seed(3)
    return ClientData(torch.randn(count, *SHAPE, generator=generator), torch.arange(count) % 10, torch.zeros(3))


SMALL = FedEcho(distill=Distillation(steps=3, batch_size=128))


def named(flat: FlatModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in flat.module.state_dict().items()}


@every_way
def test_local_steps_agree_with_the_plain_loop(execution: Execution, close: float) -> None:
    """So the initial weights are the same numbers, and gradients lie in the order of the weights."""
    local, data, out = Local(lr=0.05, epochs=1, batch_size=20), client(), []
    for flat in (model(), model(execution)):
        trained, _ = sgd(flat, flat.weights(), data, local, (0, 1, 2))
        flat.load(trained)  # through the vector and back
        out.append((named(flat), flat.logits(data.images)))
    for (name, one), two in zip(out[0][0].items(), out[1][0].values(), strict=True):
        torch.testing.assert_close(one, two, rtol=close, atol=close, msg=name)
    assert out[1][1].dtype == torch.float32 and out[1][0]["1.weight"].dtype == torch.float32


def test_kernels_really_lie_channels_last() -> None:
    kernel = model(Execution(channels_last=True)).parameters[0]
    assert kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    assert model().parameters[0].is_contiguous()


@pytest.fixture(scope="module")
def plain() -> Record:
    return experiment.run(tiny(SMALL))


@pytest.mark.parametrize(
    ("field", "value", "close"),
    [("inference_batch", 64, 0.005), ("channels_last", True, 0.01), ("autocast", "bfloat16", 0.05)],
)
def test_whole_runs_agree_in_accuracy(field: str, value: object, close: float, plain: Record) -> None:
    other = experiment.run(override(tiny(SMALL), f"execution.{field}", value))
    gaps = [abs(one["accuracy"] - two["accuracy"]) for one, two in zip(plain.rows, other.rows, strict=True)]
    assert max(gaps) <= close
    assert other.config["execution"] == {field: value} and "execution" not in plain.config


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the batches that go through torch.compile, which leaves the module as it is."""
    seen = list[int]()

    def stand_in(module: torch.nn.Module, **options: Any) -> Any:
        assert options == {"dynamic": False, "mode": "default"}

        def forward(images: torch.Tensor) -> Any:
            seen.append(len(images))
            return module(images)

        return forward

    monkeypatch.setattr(torch, "compile", stand_in)
    return seen


@pytest.mark.parametrize("asked", [True, False])
def test_only_full_batches_of_steps_are_compiled_where_that_is_asked_for(asked: bool, compiled: list[int]) -> None:
    flat = FlatModel(models.build("cnn-batchnorm", SHAPE, 10, 0), Execution(compile=asked), frozenset([16]))
    sgd(flat, flat.weights(), client(40), Local(batch_size=16, epochs=2), (0, 0, 0))
    with torch.no_grad():
        flat.logits(client(16).images)
    assert compiled == ([16, 16, 16, 16] if asked else [])


def test_a_run_compiles_its_local_and_its_distillation_steps(compiled: list[int]) -> None:
    config = tiny(SMALL, execution=Execution(compile=True))
    experiment.run(config)
    assert set(compiled) == {config.local.batch_size, SMALL.distill.batch_size}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_compiled_steps_agree_with_the_plain_loop() -> None:
    local, module, trained = Local(lr=0.05, epochs=1, batch_size=20), torch.nn.Linear(3 * 32 * 32, 10), []
    data = client()
    data = replace(data, images=data.images.flatten(1))
    flat = FlatModel(module)
    start = flat.weights()
    for execution in (Execution(), Execution(compile=True)):
        trained.append(sgd(FlatModel(module, execution, frozenset([20])), start, data, local, (0, 1, 2))[0].params)
    assert not torch.equal(trained[0], start.params)
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-5, atol=1e-5)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="compile = True .* install g\\+\\+ or leave it off"):
        experiment.run(tiny(SMALL, execution=Execution(compile=True)))
    Execution().require_compiler("cpu")


def test_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Execution(compile=True).require_compiler("cpu")
    with pytest.raises(InputError, match="install triton"):
        Execution(compile=True).require_compiler("cuda:0")


def test_bad_input() -> None:
    with pytest.raises(InputError, match="inference_batch = 0 .* >= 1"):
        Execution(inference_batch=0)
    with pytest.raises(InputError, match="autocast = 'float16' .* none, bfloat16"):
        Execution(autocast="float16")  # type: ignore[arg-type]
