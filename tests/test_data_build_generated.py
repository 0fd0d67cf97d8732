"""Sampling a pool from a pretrained pipeline, with a double in the place of the pipeline."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fedecho.core.checks import InputError
from fedecho.data import load_unlabeled
from fedecho.data.build import generated


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


def loads(double: Double) -> Callable[[str, str], Double]:
    return lambda model, device: double


def test_the_written_file_is_the_pool(tmp_path: Path) -> None:
    double, target = Double(), tmp_path / "new" / "generated.npz"
    arguments = [str(target), "--count", "5", "--batch", "2", "--steps", "7"]
    assert generated.main(arguments, loads(double)) == 0
    assert double.calls == [{"batch_size": n, "num_inference_steps": 7} for n in (2, 2, 1)]
    images = load_unlabeled("generated", target.parent).images
    assert images.shape == (5, 32, 32, 3) and len(np.unique(images)) == 5


def test_the_default_place_is_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path))
    assert generated.main(["--count", "1"], loads(Double())) == 0
    assert len(load_unlabeled("generated")) == 1


def test_prompts_take_turns_across_batches(tmp_path: Path) -> None:
    double = Double()
    arguments = [str(tmp_path / "g.npz"), "--count", "5", "--batch", "2", "--prompt", "cat", "--prompt", "dog"]
    generated.main([*arguments, "--prompt", "ship"], loads(double))
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
    assert generated.main([str(tmp_path / "g.npz"), option, "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_without_diffusers_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert generated.main([]) == 2
    assert "pip install fedecho[generate]" in capsys.readouterr().err


def test_weights_that_are_pickles_are_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(model: str, *, use_safetensors: bool) -> None:
        assert use_safetensors
        raise OSError("no safetensors\nin this folder")

    fake = SimpleNamespace(DiffusionPipeline=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    with pytest.raises(InputError, match="no safetensors") as caught:
        generated.load_pipeline("somewhere", "cpu")
    assert "\n" not in str(caught.value)
