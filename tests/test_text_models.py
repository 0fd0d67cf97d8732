"""The text model: its size, and that neither padding nor the length of a batch changes what it says of a text."""

from __future__ import annotations

import pytest
import torch

from fedecho import data, models
from fedecho.errors import InputError
from fedecho.flat import FlatModel
from fedecho.text_models import GROUP, TextEncoder, example


def small() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(vocabulary=9, context=8, classes=3, width=4)


def test_size_is_as_stated() -> None:
    model = FlatModel(models.build("text-encoder", data.TEXT_SHAPE, 6, 0))
    words, places, ends = 4000 * 32, 64 // 4 * 32, 2 * 32 + 33 * 6
    block = 2 * 2 * 32 + 33 * 3 * 32 + 33 * 32 + 33 * 64 + 65 * 32
    assert len(model.params) == words + places + block + ends == 137_318 and len(model.buffers) == 0


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8])
def test_padding_changes_nothing(length: int) -> None:
    model, ids = small(), torch.arange(1, length + 1)[None]
    padded = torch.cat([ids, torch.zeros(1, 8 - length, dtype=torch.long)], 1)
    torch.testing.assert_close(model(ids), model(padded))
    longer = torch.cat([padded, torch.full((1, 8), 3)])
    torch.testing.assert_close(model(ids), model(longer)[:1])


def test_words_and_the_order_of_groups_count() -> None:
    model, ids = small(), torch.arange(1, 9)[None]
    changed = ids.clone()
    changed[0, -1] = 1
    assert not torch.allclose(model(ids), model(changed))
    assert not torch.allclose(model(ids), model(ids.view(2, GROUP).flip(0).view(1, 8)))


def test_every_parameter_has_a_gradient() -> None:
    model = FlatModel(small())
    gradient = model.gradient(model.logits(torch.arange(1, 9)[None]).square().sum())
    assert gradient.shape == model.params.shape and bool(gradient.isfinite().all())
    words = gradient[: 9 * 4] if model.parameters[0].shape == (9, 4) else gradient[8:44]
    assert int((words.view(9, 4).abs().sum(1) > 0).sum()) == 8  # all but the padding


def test_nothing_is_random_while_training() -> None:
    model, ids = small().train(), torch.arange(1, 9)[None]
    assert torch.equal(model(ids), model(ids))


def test_a_model_of_the_other_kind_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of text-encoder"):
        models.build("cnn", data.TEXT_SHAPE, 6, 0)
    with pytest.raises(InputError, match="choose one of cnn"):
        models.build("text-encoder", (1, 28, 28), 10, 0)


def test_examples_fit_their_models() -> None:
    assert example((9, 8), 2, "cpu").tolist() == [[1] * 8] * 2
    assert example((1, 4, 4), 3, "cpu").shape == (3, 1, 4, 4)
