"""Pretrained encoders for texts: frozen, with LoRA adapters that are trained and federated together with a linear head.

A model `lora:<folder or name on the Hugging Face hub>` needs `pip install 'fedecho[language]'`. LoRA is that of Hu et
al. (arXiv 2106.09685) as the library peft has it. Unspecified in paper: rank, places and rate of the adapters.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedecho.core.checks import InputError, require
from fedecho.core.config import LORA, RunConfig
from fedecho.core.files import file_sha256
from fedecho.core.rng import torch_seed
from fedecho.data.tokens import Vocabulary, padded
from fedecho.data.torchvision_compat import torchvision

CONTEXT = 128
"""Wordpieces of the longest text that is read, special tokens included."""
RANK, SCALE = 8, 16
"""r and alpha of LoRA: an adapted layer computes W x + (alpha / r) B A x; B starts at zero."""
TARGETS = ("query", "value", "q_lin", "v_lin", "query_proj", "value_proj")
"""Names of the query and value projections in BERT and RoBERTa, in DistilBERT, in DeBERTa."""
WEIGHTS = "model.safetensors"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt")
FILES = ("config.json", WEIGHTS, *_TOKENIZER, *_VOCABULARY)
"""All that is read of a pretrained encoder, as far as it has them."""


def folder(model: str) -> Path:
    """Return the folder of `lora:<folder>`, or of what the hub has under `lora:<name>`, downloaded if need be.

    InputError: there is no such thing, or it lacks a config or weights as safetensors (pickles are never read).
    """
    name = model.removeprefix(LORA)
    found = Path(name) if Path(name).is_dir() else _downloaded(name)
    for file in FILES[:2]:
        require((found / file).is_file(), "model", model, f"it must have a {file}; other formats are not read")
    return found


@functools.cache
def _downloaded(name: str) -> Path:
    hub = _needed("huggingface_hub", LORA + name)
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        words = f"there is no such folder, and from the hub came {_in_a_line(error)}"
        raise InputError("model", LORA + name, words) from None


def digest(model: str) -> str:
    """Return the SHA-256 (hex) over names and digests of all files that are read, so that it names content alone."""
    place = folder(model)
    lines = [f"{file} {file_sha256(place / file)}\n" for file in FILES if (place / file).is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pin(config: RunConfig) -> RunConfig:
    """Return `config` with the digest of its pretrained encoder filled in; InputError if it names another one."""
    if not config.model.startswith(LORA):
        return config
    found, wanted = digest(config.model), config.model_sha256
    require(wanted in (None, found), "model", config.model, f"its files are not those of this run ({wanted})")
    return dataclasses.replace(config, model_sha256=found)


def facts(config: RunConfig) -> dict[str, Any]:
    """Return, for the record, the digests of the encoder that a run starts from and of its weights alone."""
    weights = file_sha256(folder(config.model) / WEIGHTS)
    return {"encoder_sha256": pin(config).model_sha256, "weights_sha256": weights}


@dataclass(frozen=True, eq=False)
class Wordpieces:
    """An encoder's own tokenizer; `words[k]` has the id k."""

    tokenizer: Any
    words: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the words in order."""
        return Vocabulary(self.words).digest

    def encode(self, texts: Sequence[str], context: int) -> npt.NDArray[np.int64]:
        """Return ids `[texts, longest]`, padded at the end; InputError for a text of more than `context` of them."""
        rows = self.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return padded(rows, texts, context, self.tokenizer.pad_token_id, "wordpieces")


def wordpieces(model: str) -> Wordpieces:
    """Return the tokenizer of `model`; InputError if there is none that is fast and has an id for padding."""
    place, transformers = folder(model), _needed("transformers", model)
    with _loading(model, "its tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(place), use_fast=True, local_files_only=True, trust_remote_code=False
        )
    usable = tokenizer.is_fast and tokenizer.pad_token_id is not None
    require(usable, "model", model, "it needs a fast tokenizer (tokenizer.json) with an id for padding")
    known = tokenizer.get_vocab()
    return Wordpieces(tokenizer, tuple(sorted(known, key=known.__getitem__)))


class AdaptedEncoder(nn.Module):
    """A frozen encoder with adapters, the mean over a text's wordpieces, a linear layer."""

    def __init__(self, encoder: nn.Module, width: int, padding: int, classes: int) -> None:
        """Put a head on an encoder that gives vectors of `width` numbers."""
        super().__init__()
        self.encoder, self.padding = encoder, padding
        self.head = nn.Linear(width, classes)

    def train(self, mode: bool = True) -> AdaptedEncoder:
        """Leave the encoder's dropout off: a run is a function of its config, and nothing else is random in training.

        Departure: encoders are usually adapted with the dropout that they were pretrained with.
        """
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `[batch, classes]` of `ids` int64 `[batch, length]`; those of padding are not read."""
        present = ids != self.padding
        # transformers asks whether anything is padding, which shapes alone (the predictions of costs) cannot tell.
        mask = None if ids.is_meta else present.long()
        vectors = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        counted = present.unsqueeze(-1)
        logits: Tensor = self.head((vectors * counted).sum(1) / counted.sum(1))
        return logits


def build(model: str, classes: int, seed: int) -> nn.Module:
    """Return the encoder `model` with adapters and a head that are initialised from the stream of `seed`.

    Only these require a gradient. torch's global generator is left as it was; InputError: see `folder`.
    """
    peft, tokenizer = _needed("peft", model), wordpieces(model).tokenizer
    how = peft.LoraConfig(r=RANK, lora_alpha=SCALE, lora_dropout=0.0, target_modules=list(TARGETS))
    with torch.random.fork_rng(devices=[]):
        encoder = _encoder(model, len(tokenizer))
        torch.manual_seed(torch_seed(seed, "initial-weights"))  # whatever was drawn before
        with _loading(model, "adapters"):
            adapted = peft.inject_adapter_in_model(how, encoder)
        return AdaptedEncoder(adapted, encoder.config.hidden_size, tokenizer.pad_token_id, classes)


def _encoder(model: str, words: int) -> Any:
    """Return a pretrained encoder in float32, without the pooling that nothing here reads."""
    place, transformers = folder(model), _needed("transformers", model)
    with _loading(model, "its weights"):
        encoder, seen = transformers.AutoModel.from_pretrained(
            str(place), use_safetensors=True, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    absent = sorted(name for name in seen["missing_keys"] if "pooler" not in name)
    require(not absent, "model", model, f"its weights lack {len(absent)} tensors, such as {absent[:1]}")
    how = encoder.config
    places = getattr(how, "max_position_embeddings", 0)
    # RoBERTa counts positions from the id of padding on.
    require(places >= CONTEXT + 2, "model", model, f"it reads {places} wordpieces, {CONTEXT + 2} are needed")
    require(words <= how.vocab_size, "model", model, f"its tokenizer has {words} ids, it reads {how.vocab_size}")
    if hasattr(encoder, "pooler"):
        encoder.pooler = None
    return encoder.float()


def _needed(package: str, model: str) -> Any:
    """Return an optional package; InputError says how to get it."""
    torchvision()  # transformers imports it, and without this it may not load
    try:
        return importlib.import_module(package)
    except ImportError:
        allowed = f"it needs {package}; run: pip install 'fedecho[language]'"
        raise InputError("model", model, allowed) from None


@contextmanager
def _loading(model: str, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise about bad files into one line, and keep their reports off the terminal."""
    log = _needed("transformers", model).utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    except Exception as error:  # safetensors, tokenizers, transformers and peft each have their own, of no common kind
        raise InputError("model", model, f"{what} cannot be used ({_in_a_line(error)})") from None
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


def _in_a_line(error: Exception) -> str:
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first}"
