"""Whatever is given to an entrance passes or is refused in one line; nothing is written, no other exception comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.fuzz import ENTRANCES, answered, stop, walled

EXAMPLES = int(os.environ.get("FEDECHO_FUZZ", "15"))
"""For each entrance; `make fuzz` gives more."""


@pytest.mark.parametrize("entrance", ENTRANCES)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_an_entrance(entrance: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    home: Path = tmp_path_factory.getbasetemp() / "walled"
    with pytest.MonkeyPatch.context() as patch:
        walled(patch, home)
        patch.setattr("fedecho.studies.forecast.outlook", stop)  # all input has been looked at, and it takes a minute
        answered(entrance, data.draw(ENTRANCES[entrance][1]))
        assert not home.exists()
