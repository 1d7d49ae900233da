"""Trainings in processes of their own, of one process or several, started without the seconds that imports take."""

import os
from pathlib import Path

from torch.distributed import run
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from eve_core.processes import end_with_parent
from eve_core.training import TrainingJob
from eve_core.training.__main__ import main
from eve_core.training.launch import metrics_file
from tests.processes import Forked


def start(job: TrainingJob, processes: int, output: Path | None = None, *, torchrun: bool = False) -> Forked:
    """Several are forks of torchrun's own agent; with `torchrun`, interpreters of their own as everywhere else."""
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir(exist_ok=True)
    job.write(path)
    metrics_file(path).unlink(missing_ok=True)
    if processes == 1:
        return Forked(main, path, output=output)
    if torchrun:
        command = ["--standalone", f"--nproc-per-node={processes}", "-m", "eve_core.training", str(path)]
        return Forked(run.main, command, output=output)
    return Forked(_run_forks, processes, path, output=output)


def run_to_the_end(job: TrainingJob, processes: int) -> None:
    assert start(job, processes).wait() == 0


def _run_forks(processes: int, path: Path) -> None:
    rendezvous = {"run_id": "forks", "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    elastic_launch(LaunchConfig(1, 1, processes, max_restarts=0, start_method="fork", **rendezvous), _train)(path)


def _train(path: Path) -> None:
    end_with_parent()
    status = main(path)
    if status:
        os._exit(status)  # at once, as in `eve_core.training.__main__`
