"""The text model: its size, and that neither padding nor the length of a batch changes what it says of a text."""

from __future__ import annotations

import pytest
import torch

from fedecho import data
from fedecho.core.checks import InputError
from fedecho.learning import models
from fedecho.learning.flat import FlatModel
from fedecho.learning.models.texts import GROUP, TextDecoder, TextEncoder, example


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


# The decoder


def writer() -> TextDecoder:
    torch.manual_seed(0)
    return TextDecoder(vocabulary=9, context=5, width=4)


def test_no_position_reads_what_follows_it() -> None:
    model, ids = writer(), torch.arange(5)[None]
    changed = ids.clone()
    changed[0, 3] = 8
    one, two = model(ids), model(changed)
    assert one.shape == (1, 5, 9) and torch.equal(one[:, :3], two[:, :3]) and not torch.allclose(one[:, 3:], two[:, 3:])


def test_a_shorter_text_is_read_in_the_same_way() -> None:
    model, ids = writer(), torch.arange(5)[None]
    torch.testing.assert_close(model(ids[:, :2]), model(ids)[:, :2])


def test_a_model_that_knows_nothing_takes_ids_for_ranked_by_frequency() -> None:
    model = writer()
    torch.nn.init.zeros_(model.tokens)
    odds = model(torch.zeros(1, 1, dtype=torch.long))[0, 0].exp()
    torch.testing.assert_close(1 / odds, torch.arange(5.0, 14.0))


@pytest.mark.parametrize(
    ("vocabulary", "rank"), [(257, 32), (1000, 32), (8192, 32), (8193, 16), (16_385, 8), (32_768, 8)]
)
def test_the_decoder_is_small_at_every_vocabulary(vocabulary: int, rank: int) -> None:
    model = models.build("text-decoder", (vocabulary, 32), vocabulary, 0, "generation")
    ends = rank * 48 + 49 * rank + 32 * 48 + 2 * 48
    block = 2 * 2 * 48 + 49 * 3 * 48 + 49 * 48 + 49 * 96 + 97 * 48
    count = len(FlatModel(model).params)
    assert count == vocabulary * rank + ends + block <= 300_000 and len(FlatModel(model).buffers) == 0


def test_all_of_the_decoder_learns() -> None:
    model, ids = FlatModel(writer()), torch.arange(5)[None]
    gradient = model.gradient(model.logits(ids).square().sum())
    assert bool(gradient.isfinite().all()) and int((gradient != 0).sum()) > 0.9 * len(gradient)


def test_more_than_the_context_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="tokens = 6 .* reads 5 in a row") as caught:
        writer()(torch.zeros(1, 6, dtype=torch.long))
    assert "\n" not in str(caught.value)


def test_a_model_of_the_other_task_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of text-decoder"):
        models.build("text-encoder", (300, 32), 300, 0, "generation")
    with pytest.raises(InputError, match="choose one of text-encoder"):
        models.build("text-decoder", data.TEXT_SHAPE, 6, 0)
