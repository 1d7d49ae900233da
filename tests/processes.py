"""Processes that a test starts to have them killed, or to have several at once.

Each is forked from a server that has the imports, and begins in no time: with its own interpreter it would import for
five seconds, and take three to end.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "eve_core.registry.promotion",
        "eve_core.training",
        "mlflow.store.tracking.sqlalchemy_store",
        "torch._dynamo",
        "torch.distributed.tensor",
        "transformers.trainer",
    ]
)


class Forked:
    """A process, with what `subprocess.Popen` has of it."""

    def __init__(self, function: Callable[..., int | None], *arguments: Any, output: Path | None = None) -> None:
        """Start.

        Args:
            function: of a module, run in a session of its own; what it returns is the exit status.
            arguments: its own.
            output: takes what it prints.
        """
        self._process: BaseProcess = _FORKS.Process(target=_run, args=(function, arguments, output or Path(os.devnull)))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        """It, and what it started, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def _run(function: Callable[..., int | None], arguments: tuple[Any, ...], output: Path) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as in any process; here it would be a server of its own
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = function(*arguments)
    sys.stdout.flush()
    os._exit(status or 0)
