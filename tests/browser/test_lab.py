"""A notebook in JupyterLab as a reader runs it: opened from the folder, Run All Cells, the table is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedecho.core import files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]
STEM = "10_table_vision"
START, RUN = 300, 900
"""Seconds for the server to start, and for all cells."""
RAN = re.compile(r"\[[0-9]+\]:")
SETTINGS = "lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"


@dataclass(frozen=True)
class Lab:
    address: str
    token: str
    notebooks: Path


def environment(home: Path) -> dict[str, str]:
    """Return an environment with nothing of the user's Jupyter, records of the repository and tables elsewhere."""
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    own = {"IPYTHONDIR": str(home / "ipython"), "FEDECHO_PAPER": str(home / "paper"), "JUPYTER_PREFER_ENV_PATH": "1"}
    return kept | folders | own


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    home = tmp_path / "home"
    (home / "paper").mkdir(parents=True)
    (home / "paper" / "records").symlink_to(files.REPOSITORY / "paper" / "records")
    # Outputs beyond the window would not be in the page otherwise.
    settings = home / "config" / SETTINGS
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')
    copies = shutil.copytree(files.notebooks(), tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               "--ServerApp.port=0", f"--ServerApp.root_dir={copies}", "--LabApp.news_url=",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    # An exception, so that the server is stopped on the way out.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment(home), stdout=log, stderr=log, start_new_session=True)
        try:
            said = started(server, home / "runtime", tmp_path / "log")
            yield Lab(said["url"], said["token"], copies)
        finally:
            stop(server)
            signal.signal(signal.SIGTERM, before)


def started(server: subprocess.Popen[bytes], folder: Path, log: Path) -> dict[str, str]:
    """Wait for the file in which the server says where it listens."""
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        for path in folder.glob(f"jpserver-{server.pid}.json"):
            if text := path.read_text():
                return dict(json.loads(text))
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its kernels, and whatever is left of it."""
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def run_all(page: Page) -> None:
    """Choose Run All Cells in the menu, once there is a kernel: before, each cell would ask in a dialog for one."""
    from playwright.sync_api import expect

    kernel = page.locator(".jp-NotebookPanel .jp-Toolbar-kernelName")
    expect(kernel).to_contain_text("Python 3", timeout=1000 * START)
    page.locator(".lm-MenuBar-item", has_text="Run").first.click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()


def test_run_all_cells(chromium: Browser, lab: Lab) -> None:
    from playwright.sync_api import expect

    before = {path: path.read_bytes() for path in files.notebooks().glob("*.ipynb")}
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{lab.address}lab/tree/{STEM}.ipynb?token={lab.token}", timeout=1000 * START)
    idle = page.locator('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]')
    expect(idle).to_be_visible(timeout=1000 * START)
    run_all(page)
    last = page.locator(".jp-NotebookPanel .jp-CodeCell .jp-InputPrompt").last
    expect(last).to_have_text(RAN, timeout=1000 * RUN)
    expect(idle).to_be_visible(timeout=60_000)
    expect(page.locator(".jp-OutputArea", has_text="0 of them without a record").first).to_be_visible()
    tables = page.locator(".jp-RenderedMarkdown table", has_text="FedEcho")
    with (files.folder_of("tables", "laptop") / "vision.csv").open() as lines:
        mean, half = next(line.split(",")[3:5] for line in lines if line.startswith("Dir(0.1),mild,FedEcho,"))
    assert tables.count() >= 8 and f"{float(mean):.2f} ± {float(half):.2f}" in tables.first.inner_text()
    assert page.locator(".jp-RenderedImage img").count() == 4
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    context.close()
    assert (lab.notebooks.parent / "home" / "paper" / "tables" / "vision.md").is_file()
    assert {path: path.read_bytes() for path in files.notebooks().glob("*.ipynb")} == before
