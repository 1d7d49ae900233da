"""Starting a training: in this process, or in several on this machine under torchrun."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from eve_core.config import LaunchConfig
from eve_core.errors import UserError
from eve_core.training.job import TrainingJob
from eve_core.training.monitor import LogMetrics, log_if_possible
from eve_core.training.preemption import Preempted

_SECONDS_BETWEEN_LOOKS = 0.5


def launch(job: TrainingJob, config: LaunchConfig, log: LogMetrics | None) -> None:
    """Run `job` to its end.

    Args:
        job: what is trained.
        config: how many processes.
        log: called with metrics and step.

    Raises:
        UserError: see `TrainingJob.run`; or a process died, whose last words are in its log.
        Preempted: it was told to stop, and saved.
    """
    if config.nodes > 1:
        raise UserError(
            f"{job.name}: launch.nodes is {config.nodes}, but a training on several machines needs a cluster's "
            "TrainJob; set it to 1 here"
        )
    processes = count_processes(config)
    if processes == 1:
        job.run(log)
        return
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in [metrics_file(path), *(failure_file(path, rank) for rank in range(processes))]:
        file.unlink(missing_ok=True)
    job.write(path)
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "eve_core.training"]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    with _processes([sys.executable, "-m", *torchrun, str(path)], environment) as process:
        follow(metrics_file(path), process, log)
    if process.returncode:
        for file in (failure_file(path, rank) for rank in range(processes)):
            if file.exists():
                failure = json.loads(file.read_text())
                raise (Preempted if failure["preempted"] else UserError)(failure["message"])
        raise UserError(
            f"{job.name}: one of {processes} processes died (status {process.returncode}); its last words are in the "
            "log above; run it again to go on from the last checkpoint"
        )


def count_processes(config: LaunchConfig) -> int:
    """How many processes train together.

    Raises:
        UserError: the config asks for GPUs and there are none.
    """
    if config.processes != "gpus":
        return config.processes
    import torch

    number = torch.cuda.device_count()
    if not number:
        raise UserError(
            "launch.processes asks for one process a GPU, but this machine has no GPU; run it on one that has, or name "
            "a number of processes"
        )
    return number


def metrics_file(job: Path) -> Path:
    """Where the first process of a job leaves metrics."""
    return job.with_name("metrics.jsonl")


def failure_file(job: Path, rank: int) -> Path:
    """Where a process says why it failed."""
    return job.with_name(f"failure-{rank}.json")


def follow(metrics: Path, process: subprocess.Popen[bytes], log: LogMetrics | None) -> None:
    """Pass metrics on until `process` ends."""
    metrics.touch()
    with metrics.open() as file:
        begun = ""
        while True:
            ended = process.poll() is not None
            while line := file.readline():
                begun += line
                if begun.endswith("\n"):
                    entry = json.loads(begun)
                    log_if_possible(log, entry["metrics"], entry["step"])
                    begun = ""
            if ended:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _processes(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Started with SIGTERM passed on to them, which they save at; however this ends, none of them outlives it."""
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in started:
            process.send_signal(signal.SIGTERM)

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, pass_on) if in_main else None
    try:
        started.append(subprocess.Popen(command, env=environment))
        yield started[0]
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
        if started and started[0].poll() is None:
            started[0].terminate()
            started[0].wait()
