"""A kernel forked from a process that has done its imports; jupyter_client takes it for one that it started."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn


def settle(environment: Mapping[str, str]) -> None:
    """Let this process have `environment` and nothing else."""
    os.environ.clear()
    os.environ.update(environment)


class ForkedKernel:
    """A forked process that waits to become the kernel: the next time there are threads, and no fork is safe.

    To jupyter_client it is a `subprocess.Popen`.
    """

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        """Fork, while this process is nothing but what it was forked from."""
        self.returncode: int | None = None
        self._line, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            leave(lambda: _become_kernel(theirs))
        theirs.close()
        self._line.recv(1)  # now it leads a group: signals are sent to all of a kernel's group, and this is not ours

    def be_the_one_launched(self) -> None:
        """Give this process to the first that wants a kernel; whoever wants a second one gets it in the usual way."""
        local_provisioner: Any = importlib.import_module("jupyter_client.provisioning.local_provisioner")
        usual = local_provisioner.launch_kernel

        def launch(command: list[str], **options: Any) -> Any:
            local_provisioner.launch_kernel = usual
            self._begin(command, **options)
            return self

        local_provisioner.launch_kernel = launch

    def _begin(self, command: list[str], env: Mapping[str, str], cwd: str | None = None, **_: Any) -> None:
        # It ends when this process does. ipykernel takes the variable for that, but as it is imported.
        parent = str(os.getpid())
        command = [*command, f"--IPKernelApp.parent_handle={parent}"]
        job = {"command": command, "cwd": cwd or os.getcwd(), "environment": {**env, "JPY_PARENT_PID": parent}}
        self._line.sendall(json.dumps(job).encode() + b"\n")

    def poll(self) -> int | None:
        """Return the exit code, none while it runs."""
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end and return the exit code."""
        if self.returncode is None:
            self._reap(0)
        return self.returncode

    def _reap(self, options: int) -> None:
        pid, status = os.waitpid(self.pid, options)
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _become_kernel(line: socket.socket) -> None:
    os.setsid()
    line.sendall(b".")
    text = line.makefile().readline()
    line.close()
    if not text:  # none was needed
        return
    job = json.loads(text)
    os.chdir(job["cwd"])
    settle(job["environment"])
    sys.argv = job["command"][job["command"].index("ipykernel_launcher") :]
    if sys.path[0] == "":  # the launcher does so, too: what lies in the folder must not pass for a library
        del sys.path[0]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def leave(call: Callable[[], object]) -> NoReturn:
    """Do the last thing of a forked process and end it, without a way back into the code it was forked from."""
    code = 1
    try:
        call()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
