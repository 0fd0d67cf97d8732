"""A kernel forked from a process that has done its imports; jupyter_client takes it for one that it started."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from fedecho.core import processes

PATIENCE = 2
"""Seconds that a process has to end when nobody wants it any more, before it is killed."""
_PATH = [*sys.path]
"""Of the process that all are forked from: multiprocessing gives them that of the process which asks for them."""


@contextmanager
def kernel_at_hand() -> Iterator[None]:
    """Fork a kernel for the first that wants one; whoever wants a second gets it in the usual way.

    To be entered while this process is nothing but what it was forked from: later there are threads, and no fork is
    safe.
    """
    local_provisioner: Any = importlib.import_module("jupyter_client.provisioning.local_provisioner")
    usual, kernel = local_provisioner.launch_kernel, ForkedKernel()

    def launch(command: list[str], **options: Any) -> ForkedKernel:
        local_provisioner.launch_kernel = usual
        kernel.begin(command, **options)
        return kernel

    local_provisioner.launch_kernel = launch
    try:
        yield
    finally:
        kernel.close()


class ForkedKernel:
    """A forked process that waits to become the kernel. To jupyter_client it is a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        """Fork."""
        self._line, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=_become_kernel, args=(self._line, theirs))
        self._process.start()
        theirs.close()
        self._line.recv()  # now it leads a group: signals are sent to all of a kernel's group, and this is not ours
        self.pid = self._process.pid

    def begin(self, command: list[str], env: Mapping[str, str], cwd: str | None = None, **_: Any) -> None:
        """Let it become the kernel that a command line asks for."""
        # It ends when this process does. ipykernel takes the variable for that, but as it is imported.
        parent = str(os.getpid())
        command = [*command, f"--IPKernelApp.parent_handle={parent}"]
        self._line.send((command, cwd or os.getcwd(), {**env, "JPY_PARENT_PID": parent}))

    @property
    def returncode(self) -> int | None:
        """The exit code, none while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, none while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end and return the exit code."""
        self._process.join(timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Wait for its end, whether it was wanted or not."""
        self._line.close()
        self.wait(PATIENCE)
        self.kill()


def _become_kernel(parents: Connection, line: Connection) -> None:
    parents.close()
    os.setsid()
    processes.end_with_parent(processes.AT_ONCE)
    line.send("ready")
    try:
        command, folder, environment = line.recv()
    except EOFError:  # none was needed
        return
    line.close()
    os.chdir(folder)
    settle(environment)
    sys.argv = command[command.index("ipykernel_launcher") :]
    sys.path[:] = [place for place in _PATH if place]  # so does the launcher: what lies in the folder is no library
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def settle(environment: Mapping[str, str]) -> None:
    """Let this process have `environment` and nothing else."""
    os.environ.clear()
    os.environ.update(environment)
