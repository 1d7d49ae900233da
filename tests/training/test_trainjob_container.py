"""A TrainJob's nodes as the Kubeflow SDK starts them in containers of the project's image, without a cluster."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from components.images import TRAIN_IMAGE
from eve_core.config import LaunchConfig
from eve_core.training import launch
from tests.pipelines.test_containers import docker
from tests.training.test_distributed import job_of
from tests.training.test_pretraining import assert_same_weights

pytest.importorskip("kubeflow.trainer")
pytestmark = pytest.mark.slow

__all__ = ["docker"]


def train(job: str) -> None:
    """What the SDK copies into a script of its own and gives to torchrun."""
    import sys
    from pathlib import Path

    from eve_core.training.__main__ import main

    sys.exit(main(Path(job)))


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_container_backend_trains(docker, prepared, tmp_path, monkeypatch, nodes):
    from kubeflow.trainer import ContainerBackendConfig, CustomTrainer, TrainerClient
    from kubeflow.trainer.options import Name

    here = job_of(prepared, tmp_path / "here", steps=4)
    launch(here, LaunchConfig(processes=nodes))

    monkeypatch.setenv("HOME", str(tmp_path))  # the SDK keeps a job's folder there, and mounts it as /workspace
    name = f"eve-{nodes}-nodes"
    folder = tmp_path / ".kubeflow" / "trainer" / "containers" / name
    shutil.copytree(prepared.path, folder / "prepared")
    job = job_of(prepared, folder / "job", steps=4)
    inside = replace(job, prepared="/workspace/prepared", out="/workspace/job/out", scratch="/workspace/job/scratch")
    (folder / "job" / "scratch").mkdir()
    inside.write(folder / "job" / "scratch" / "job.json")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)  # the image's user is nobody here
    client = TrainerClient(ContainerBackendConfig(pull_policy="Never", container_runtime="docker"))
    started = client.train(
        runtime="torch-distributed",
        trainer=CustomTrainer(
            func=train,
            func_args={"job": "/workspace/job/scratch/job.json"},
            num_nodes=nodes,
            image=TRAIN_IMAGE,
            env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        ),
        options=[Name(name)],
    )
    try:
        ended = client.wait_for_job_status(started, {"Complete", "Failed"}, timeout=240, polling_interval=1)
        for step in ended.steps:
            print(*client.get_job_logs(started, step.name), sep="\n")  # shown where the next line fails
        assert ended.status == "Complete"
        assert_same_weights(Path(job.out), Path(here.out))
    finally:
        client.delete_job(started)
