"""Sampling a pool from a pretrained pipeline, with a double in the place of the pipeline."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fedecho.core.checks import InputError
from fedecho.data import load_unlabeled
from fedecho.data.build import generated
from fedecho.data.command import command


class Double:
    """Returns grey images of its next seeds, and remembers how it was called."""

    def __init__(self, side: int = 32) -> None:
        self.side = side
        self.calls: list[dict[str, Any]] = []

    def __call__(self, *, generator: torch.Generator, output_type: str, **how: Any) -> SimpleNamespace:
        assert output_type == "np"
        self.calls.append(how)
        size = len(how["prompt"]) if "prompt" in how else how["batch_size"]
        grey = torch.rand((size, 1, 1, 1), generator=generator).numpy()
        return SimpleNamespace(images=np.broadcast_to(grey, (size, self.side, self.side, 3)))


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Double:
    """The pipeline that is loaded in these tests."""
    made = Double()
    monkeypatch.setattr(generated, "load_pipeline", lambda model, device: made)
    return made


def test_the_written_file_is_the_pool(tmp_path: Path, double: Double) -> None:
    target = tmp_path / "new" / "generated.npz"
    command(generated.main, args=[str(target), "--count", "5", "--batch", "2", "--steps", "7"])
    assert double.calls == [{"batch_size": n, "num_inference_steps": 7} for n in (2, 2, 1)]
    images = load_unlabeled("generated", target.parent).images
    assert images.shape == (5, 32, 32, 3) and len(np.unique(images)) == 5


@pytest.mark.usefixtures("double")
def test_the_default_place_is_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path))
    generated.main(count=1)
    assert len(load_unlabeled("generated")) == 1


def test_prompts_take_turns_across_batches(tmp_path: Path, double: Double) -> None:
    arguments = [str(tmp_path / "g.npz"), "--count", "5", "--batch", "2", "--prompt", "cat", "--prompt", "dog"]
    command(generated.main, args=[*arguments, "--prompt", "ship"])
    assert [prompt for call in double.calls for prompt in call["prompt"]] == ["cat", "dog", "ship", "cat", "dog"]


def test_larger_images_are_averaged_down_and_others_refused() -> None:
    how: dict[str, Any] = {"prompts": [], "batch": 2, "seed": 0}
    assert generated.sample(Double(64), 2, **how).shape == (2, 32, 32, 3)
    with pytest.raises(InputError, match="32 divides"):
        generated.sample(Double(48), 2, **how)


def test_the_seed_decides() -> None:
    one, again, other = (generated.sample(Double(), 2, prompts=[], batch=2, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("option", ["--count", "--batch"])
def test_no_images_are_refused_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        command(generated.main, args=[str(tmp_path / "g.npz"), option, "0"])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and "at least 1" in line


def test_without_diffusers_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install fedecho\[generate\]") as caught:
        generated.main()
    assert "\n" not in str(caught.value)


def test_weights_that_are_pickles_are_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(model: str, *, use_safetensors: bool) -> None:
        assert use_safetensors
        raise OSError("no safetensors\nin this folder")

    fake = SimpleNamespace(DiffusionPipeline=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    with pytest.raises(InputError, match="no safetensors") as caught:
        generated.load_pipeline("somewhere", "cpu")
    assert "\n" not in str(caught.value)


def test_what_a_command_prints_is_seen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")

    def said(folder: Path) -> str:
        print(f"into {folder}")
        return "done"

    assert command(said, args=["--folder", "~/x"]) == "done" and capsys.readouterr().out == "into /home/ada/x\n"
    assert (
        command(said, generated.main, args=["said", "--folder", "y"]) == "done"
        and capsys.readouterr().out == "into y\n"
    )
    with pytest.raises(SystemExit, match="2"):
        command(said, args=[])
    seen = capsys.readouterr()
    assert seen.out == "" and seen.err.startswith("fedecho: ") and seen.err.count("\n") == 1
