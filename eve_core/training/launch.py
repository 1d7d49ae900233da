"""Starting a training: in this process, in several on this machine under torchrun, or on a cluster."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from eve_core.config import LaunchConfig
from eve_core.errors import Preempted, UserError
from eve_core.training.job import TrainingJob
from eve_core.training.monitor import KeepFolder, LogMetrics, keep_if_possible, log_if_possible

_SECONDS_BETWEEN_LOOKS = 0.5


def launch(
    job: TrainingJob, config: LaunchConfig, log: LogMetrics | None = None, keep: KeepFolder | None = None
) -> None:
    """Run `job` to its end.

    Args:
        job: what is trained.
        config: how many processes, and where.
        log: called with metrics and step.
        keep: called with a folder of pictures that there are new ones in.

    Raises:
        UserError: see `TrainingJob.run`; or a process died, whose last words are in its log.
        Preempted: it was told to stop, and saved.
    """
    if config.trainjob is not None:
        from eve_core.training.trainjob import run_trainjob

        run_trainjob(job, config, log, keep)
        return
    processes = count_processes(config)
    if processes == 1:
        job.run(log, keep)
        return
    path = Path(job.scratch) / "job.json"
    forget(path)
    job.write(path)
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "eve_core.training"]
    import torch

    # Of this process's threads, which may be fewer than there are cores.
    environment = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)), **os.environ}
    started: list[subprocess.Popen[bytes]] = []

    def pass_on() -> None:
        for process in started:
            process.send_signal(signal.SIGTERM)

    with sigterm_to(pass_on):
        process = subprocess.Popen([sys.executable, "-m", *torchrun, str(path)], env=environment)
        started.append(process)
        try:
            with MetricsFollower(path, log, keep) as metrics:
                while process.poll() is None:
                    metrics.look()
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise_failure(path)
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


def forget(job: Path) -> None:
    """Remove what an earlier run of the same job left."""
    job.parent.mkdir(parents=True, exist_ok=True)
    for file in [metrics_file(job), *job.parent.glob("failure-*.json")]:
        file.unlink(missing_ok=True)


def raise_failure(job: Path) -> None:
    """Raise what the first of its processes to say so failed of, if any did.

    Raises:
        UserError: it.
        Preempted: it was told to stop, and saved.
    """
    for file in sorted(job.parent.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns):
        failure = json.loads(file.read_text())
        raise (Preempted if failure["preempted"] else UserError)(failure["message"])


class MetricsFollower:
    """Passes on what the first process of a job leaves in its file of metrics; the last of it on leaving."""

    def __init__(self, job: Path, log: LogMetrics | None, keep: KeepFolder | None = None) -> None:
        metrics_file(job).touch()
        self._file = metrics_file(job).open()
        self._log, self._keep = log, keep
        self._begun = ""

    def look(self) -> None:
        """Pass on what is new."""
        while line := self._file.readline():
            self._begun += line
            if self._begun.endswith("\n"):
                entry = json.loads(self._begun)
                if "folder" in entry:
                    keep_if_possible(self._keep, Path(entry["folder"]))
                else:
                    log_if_possible(self._log, entry["metrics"], entry["step"])
                self._begun = ""

    def __enter__(self) -> "MetricsFollower":
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._file.close()


@contextlib.contextmanager
def sigterm_to(react: Callable[[], object]) -> Iterator[None]:
    """While this lasts, SIGTERM does not end this process but makes it `react`."""

    def taken(number: int, frame: FrameType | None) -> None:
        react()

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, taken) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
