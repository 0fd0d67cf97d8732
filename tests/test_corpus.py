"""Each nasty file and line of the corpus is refused in one line that names what is wrong; nothing is written."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from fedecho.core import own, records
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig
from fedecho.core.settings import Data, Delays
from fedecho.learning.experiment import new_record
from fedecho.learning.methods import FedBuff
from tests.corpus import ALL, Nasty
from tests.sound import sound


def test_the_corpus_has_no_two_alike() -> None:
    assert len({nasty.wrong for nasty in ALL}) == len(ALL) >= 60


@pytest.mark.parametrize("nasty", ALL, ids=lambda nasty: nasty.wrong)
def test_it_is_refused_in_one_line(nasty: Nasty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    with pytest.raises(InputError) as caught:
        nasty.give(tmp_path)
    line = str(caught.value)
    assert re.search(nasty.names, line), line
    assert line.isprintable() and len(line) < 2500
    assert not (tmp_path / "paper").exists() and not (tmp_path / "there").exists()


SHA256 = "0" * 64
OWN = {
    "an encoder of a hub": RunConfig(FedBuff(), model="lora:someone/large", model_sha256=SHA256),
    "a module": RunConfig(FedBuff(), model="antigravity:fly", model_sha256=SHA256),
    "delays": RunConfig(FedBuff(), delays=Delays("function", function="this:x", function_sha256=SHA256)),
    "a device": RunConfig(FedBuff(), delays=Delays("trace", trace="/dev/zero", trace_sha256=SHA256)),
    "a file": RunConfig(FedBuff(), data=Data("/dev/zero.npz", sha256=SHA256)),
}


@pytest.mark.parametrize("config", OWN.values(), ids=OWN)
def test_a_record_never_leads_to_code_or_a_network(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in ((own, "module"), (socket, "socket"), (socket, "create_connection")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("a record was obeyed"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    stored = sound(new_record(config, "done", [{}], {}, Clock(), {}))
    path = records.record_path(tmp_path, config)
    records.save(stored, path)
    assert records.load(path).run_config() == config
    assert "antigravity" not in sys.modules and "this" not in sys.modules
