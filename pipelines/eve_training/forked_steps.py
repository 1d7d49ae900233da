"""Steps as forks of one process that has imported what steps import: imports take seconds a step, a fork takes none.

A step is a process of its own all the same. The server begins with what steps of all kinds import, serves from then on,
and imports PyTorch and what else takes long while nobody asks. `python -m pipelines.eve_training.forked_steps FD` is
the server; FD is its end of a pair of sockets, over which each step's own connection comes.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_FIRST = (
    "kfp.dsl.executor_main",
    "components.step",
    "eve_core.registry.promotion",
    "mlflow.store.tracking.sqlalchemy_store",
    "eve_core.data.versioning.location",
)
_LATER = (
    "dvc.repo",
    "great_expectations",
    "eve_core.quality",
    "torch",
    "torch._dynamo",
    "torch.distributed.tensor",
    "transformers.trainer",
    "eve_core.evaluation.figures",
    "eve_core.evaluation.scoring",
    "eve_core.training",
    "eve_core.report",
    "eve_core.report.model_page",
)


@contextlib.contextmanager
def forked_steps(log: Path) -> Iterator[None]:
    """While this lasts, kfp.local's runner of subprocesses forks steps.

    Args:
        log: takes what steps print, and the server.
    """
    from kfp.local import subprocess_task_handler

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The second lets a fork use a GPU after PyTorch has looked here whether there is one.
    environment = {**os.environ, "_KFP_RUNTIME": "true", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    with ours, log.open("a") as output:
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=[theirs.fileno()],
            )

        before = subprocess_task_handler.run_local_subprocess

        def run(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
            if server.poll() is not None:
                return int(before(full_command, env_vars))
            return _ask(ours, full_command, {**os.environ, **(env_vars or {})})

        subprocess_task_handler.run_local_subprocess = run
        try:
            yield
        finally:
            subprocess_task_handler.run_local_subprocess = before
            server.kill()  # steps that still run are not its, and see to themselves
            server.wait()


def _ask(server: socket.socket, command: list[str], environment: dict[str, str]) -> int:
    """Have a step run to its end; its exit status, as a shell tells it."""
    # kfp's command: sh -c SCRIPT CODE ARGUMENT..., where SCRIPT writes CODE to a file that it runs.
    place = next(place for place, part in enumerate(command) if "ephemeral_component.py" in part)
    code, *arguments = command[place + 1 :]
    ours, theirs = socket.socketpair()
    answer = b""
    with ours, contextlib.suppress(ConnectionError):
        with theirs:
            socket.send_fds(server, [b"step"], [theirs.fileno()])
        step = {"command": command, "code": code, "arguments": arguments, "environment": environment}
        ours.sendall(json.dumps(step).encode())
        ours.shutdown(socket.SHUT_WR)
        answer = _read(ours)
    if not answer:
        raise RuntimeError("the process that forks steps is gone; start the run again")
    return int(answer)


def _read(connection: socket.socket) -> bytes:
    """Everything until the other end says that there is no more, or is gone."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def _serve(control: socket.socket) -> None:
    """Fork for every step, until nobody can ask any more."""
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the steps
    running: dict[int, tuple[BaseProcess, socket.socket]] = {}
    later = list(_LATER)
    while True:
        ready = wait([control, *running], timeout=0 if later else None)
        for ended in running.keys() & {*ready}:
            process, connection = running.pop(ended)
            os.close(ended)
            process.join()
            code = 1 if process.exitcode is None else process.exitcode
            _answer(connection, code if code >= 0 else 128 - code)
        if control in ready:
            _, descriptors, _, _ = socket.recv_fds(control, 16, 1)
            if not descriptors:
                return
            connection = socket.socket(fileno=descriptors[0])
            others = [control, *(connection for _, connection in running.values())]
            given = (connection, others, on_interrupt)
            process = multiprocessing.get_context("fork").Process(target=_execute, args=given)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until the step knows what to do with it
            try:
                process.start()
                # Not the process's sentinel, which its loader workers keep open where it is killed.
                running[os.pidfd_open(process.pid or 0)] = process, connection
            except OSError as error:
                print(f"no process could be forked ({error})", flush=True)
                _answer(connection, 1)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        elif later and not ready:
            _import(later.pop(0))


def _answer(connection: socket.socket, status: int) -> None:
    with connection, contextlib.suppress(BrokenPipeError):
        connection.sendall(str(status).encode())


def _import(module: str) -> None:
    """What cannot be imported here is the step's own to say."""
    with contextlib.suppress(Exception):
        importlib.import_module(module)


def _execute(connection: socket.socket, others: list[socket.socket], on_interrupt: Any) -> None:
    """Be a step. What multiprocessing forks ends without taking down modules, which would take seconds again."""
    from kfp.dsl.executor_main import executor_main

    signal.signal(signal.SIGINT, on_interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for other in others:
        other.close()
    with connection:
        step = json.loads(_read(connection))
    if "torch" in sys.modules and sys.modules["torch"].cuda._is_in_bad_fork():  # an import has asked the driver
        os.execvpe(step["command"][0], step["command"], step["environment"])
    os.environ.clear()
    os.environ.update(step["environment"])
    with TemporaryDirectory() as folder:
        module = Path(folder) / "ephemeral_component.py"
        module.write_text(step["code"])
        sys.argv = ["executor_main", "--component_module_path", str(module), *step["arguments"]]
        executor_main()


def main() -> None:
    """Be the server."""
    from eve_core.registry.tracking import quieten_mlflow

    quieten_mlflow()
    for module in _FIRST:
        _import(module)
    _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
