"""Starting a training: in this process, in several on this machine under torchrun, or on a cluster."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from eve_core.config import LaunchConfig
from eve_core.errors import Preempted, UserError
from eve_core.training.guards import refuse_missing_gpus
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
    with _gpus_to_itself(job) if config.processes == "gpus" else contextlib.nullcontext():
        _launch_here(job, processes, log, keep)


def _launch_here(job: TrainingJob, processes: int, log: LogMetrics | None, keep: KeepFolder | None) -> None:
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
    told_to_stop: list[bool] = []

    def pass_on() -> None:
        told_to_stop.append(True)
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
        raise_failure(path, told_to_stop=bool(told_to_stop))
        raise UserError(
            f"{job.name}: one of {processes} processes died (status {process.returncode}); its last words are in the "
            "log above; run it again to go on from the last checkpoint"
        )


@contextlib.contextmanager
def _gpus_to_itself(job: TrainingJob) -> Iterator[None]:
    """Wait until no other training has the GPUs of this machine; a run's steps for several tasks go side by side."""
    with (Path(tempfile.gettempdir()) / f"eve-gpus-{os.getuid()}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{job.name} waits until another training leaves the GPUs of this machine", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def count_processes(config: LaunchConfig) -> int:
    """How many processes train together.

    Raises:
        UserError: the config asks for GPUs and there are none.
    """
    if config.processes != "gpus":
        return config.processes
    import torch

    refuse_missing_gpus(config.processes)
    return torch.cuda.device_count()


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


def raise_failure(job: Path, *, told_to_stop: bool) -> None:
    """Raise what the first of its processes to say so failed of, if any did.

    Args:
        job: the job's file.
        told_to_stop: it was, which ends processes without a word before they have begun to train.

    Raises:
        UserError: what it failed of.
        Preempted: it was told to stop, and saved what there was to save.
    """
    for file in sorted(job.parent.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns):
        failure = json.loads(file.read_text())
        raise (Preempted if failure["preempted"] else UserError)(failure["message"])
    if told_to_stop:
        raise Preempted(
            "training was told to stop (SIGTERM) and ended without a checkpoint; run it again to go on from an earlier "
            "one, if there is one"
        )


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
