"""The DAG in containers: the same outcome as in subprocesses, and no failure that reads as a success."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfp.local import docker_task_handler

from components.images import IMAGES
from eve_core.code_digest import code_digest
from eve_core.config import ClusterConfig, load_config
from eve_core.errors import UserError
from eve_core.report import RunSummary, collect
from pipelines.eve_training import containers
from pipelines.eve_training.containers import container_runner, mounted_folders
from tests.pipelines.conftest import write

pytestmark = pytest.mark.slow(minutes=4)
_CODE = "from eve_core.code_digest import code_digest; print(code_digest())"


@pytest.fixture(scope="module")
def docker():
    """Docker's SDK, where an engine answers and has images of this code."""
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env()
        names = {tag for image in client.images.list() for tag in image.tags}
    except docker.errors.DockerException as error:
        pytest.skip(f"needs Docker ({str(error)[:80]})")
    for role in ("data", "train"):
        if IMAGES[role] not in names:
            pytest.skip(f"needs the image {IMAGES[role]}: make images")
        inside = client.containers.run(IMAGES[role], ["python", "-c", _CODE], remove=True, network_mode="host")
        if inside.decode().strip() != code_digest():
            pytest.skip(f"the image {IMAGES[role]} is of other code: make images")
    yield client
    client.close()


def test_a_container_that_ends_at_once_keeps_its_status(docker):
    settings = {"network_mode": "host", "read_only": True, "volumes": {}}
    for status in (0, 1, 3):
        command = ["sh", "-c", f"exit {status}"]
        assert containers._run_container(docker, IMAGES["data"], command, **settings) == status
    missing = "python: can't open file '/no-such-file': [Errno 2] No such file or directory"
    assert containers._run_container(docker, IMAGES["data"], ["python", "/no-such-file"], **settings) == 2, missing
    assert not docker.containers.list(all=True, filters={"ancestor": IMAGES["data"]})


def test_kfp_runs_containers_our_way(docker, tiny_run, tmp_path):
    config = load_config(write(tiny_run, tmp_path / "config.yaml"))
    runner = container_runner(config, "run-1", tmp_path)
    assert docker_task_handler.run_docker_container is containers._run_container
    assert runner.container_run_args["read_only"] is True
    assert runner.container_run_args["user"] == f"{os.getuid()}:{os.getgid()}"


def test_a_role_has_what_it_needs_and_no_more(docker):
    def run(role: str, *command: str) -> str:
        return docker.containers.run(
            IMAGES[role], [*command], remove=True, network_mode="none", read_only=True, tmpfs={"/tmp": ""}
        ).decode()

    assert run("data", "id", "-u").strip() == "10001"
    packages = run(
        "data", "python", "-c", "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
    )
    assert {"mlflow-skinny", "kfp", "dvc", "great_expectations"} <= set(packages.split())
    assert not {"torch", "prefect", "uv", "pip", "pytest"} & set(packages.split())
    assert "torch" in run("train", "python", "-c", "import torch, mlflow, transformers; print(torch.__name__)")
    assert "none" in run("data", "sh", "-c", "command -v gcc cc make || echo none")
    labels = docker.images.get(IMAGES["train"]).labels
    assert labels["org.opencontainers.image.title"] == "eve train"
    assert labels["org.opencontainers.image.revision"] not in ("", "unknown")
    assert docker.images.get(IMAGES["data"]).attrs["Size"] < 1e9


def test_servers_and_worker_have_their_commands(docker):
    names = {tag for image in docker.images.list() for tag in image.tags}
    if not {IMAGES["services"], IMAGES["worker"]} <= names:
        pytest.skip("needs the images of services and worker: make images")

    def run(role: str, script: str) -> str:
        settings = {"remove": True, "network_mode": "none", "read_only": True, "tmpfs": {"/tmp": ""}}
        environment = {"PREFECT_HOME": "/tmp/prefect"}
        return docker.containers.run(IMAGES[role], ["sh", "-c", script], environment=environment, **settings).decode()

    said = run("services", "mlflow --version; prefect --version; python -c 'import psycopg, boto3' && id -u")
    assert "3.17.2" in said
    assert "3.8.8" in said
    assert said.strip().endswith("10001")
    imports = "import torch, kfp.kubernetes, mlflow.pyfunc, pipelines.retraining.flow; print('can', 'serve')"
    assert "can serve" in run("worker", f'python -c "{imports}"')
    assert "retrain" in run("worker", "eve --help")


def test_without_docker_it_is_said(tiny_run, tmp_path, monkeypatch):
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    config = load_config(write(tiny_run, tmp_path / "config.yaml"))
    with pytest.raises(UserError, match=r"Docker does not answer .*without --runner docker"):
        container_runner(config, "run-1", tmp_path)


def test_only_what_steps_need_is_mounted(tiny_run, tmp_path):
    tree = copy.deepcopy(tiny_run)
    tree["workspace"] = str(tmp_path / "workspace")
    tree["registry"] = {"tracking_uri": f"sqlite:///{tmp_path}/workspace/mlflow/db", "artifacts": str(tmp_path / "a")}
    tree["data"] |= {"repository": str(tmp_path / "data"), "remote": {"url": str(tmp_path / "remote")}}
    tree["tokenizer"] = {"path": str(tmp_path / "vocab.txt")}
    config = load_config(write(tree, tmp_path / "config.yaml"))
    assert dict(mounted_folders(config)) == {
        tmp_path / "workspace": True,
        tmp_path / "a": True,
        tmp_path / "data": True,
        tmp_path / "remote": False,
        tmp_path / "vocab.txt": False,
    }


def _run(path: Path, *more: str) -> RunSummary:
    command = [sys.executable, "-m", "eve_core.cli.main", "run", "--config", str(path), *more]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    config = load_config(path)
    newest = max((config.workspace / "runs").iterdir(), key=lambda folder: folder.name)
    return collect(config.registry, newest.name)


def test_subprocesses_and_containers_come_to_the_same(docker, tiny_run, tmp_path):
    tree = copy.deepcopy(tiny_run)
    tree["tasks"] = {"nlvr2": tree["tasks"]["nlvr2"]}
    tree["data"]["repository"] = str(tmp_path / "repository")
    runs = {}
    for runner in ("subprocess", "docker"):
        folder = tmp_path / runner
        tree["workspace"] = str(folder)
        tree["registry"] = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "artifacts")}
        path = write(tree, tmp_path / f"{runner}.yaml")
        if runner == "subprocess":
            prepare = [sys.executable, "-m", "eve_core.cli.main", "data", "prepare", "--config", str(path)]
            subprocess.run(prepare, check=True, capture_output=True)
        runs[runner] = _run(path, "--runner", runner)
    here, there = (runs[runner].tasks["nlvr2"].blessing for runner in ("subprocess", "docker"))
    assert here["metrics"] == pytest.approx(there["metrics"], abs=1e-6)
    for same in ("blessed", "data_digest", "test_digest", "trained_on", "items"):
        assert here[same] == there[same]
    assert [check["passed"] for check in here["checks"]] == [check["passed"] for check in there["checks"]]


def test_an_image_without_a_tag_is_refused():
    images = {"data": "registry.example/eve/data", "train": "registry.example:5000/eve/train:1"}
    with pytest.raises(ValueError, match=r"registry\.example/eve/data has no fixed tag"):
        ClusterConfig.model_validate({"endpoint": "http://kfp", "images": images})
    pinned = {"data": "registry.example/eve/data@sha256:" + "0" * 64, "train": "registry.example:5000/eve/train:1"}
    assert ClusterConfig.model_validate({"endpoint": "http://kfp", "images": pinned}).images.train.endswith(":1")
    with pytest.raises(ValueError, match="has no fixed tag"):
        ClusterConfig.model_validate({"endpoint": "http://kfp", "images": {**pinned, "train": "eve:latest"}})


def test_the_bill_of_materials_lists_debian_and_python_packages(docker, tmp_path):
    from infra.docker.images import bill_of_materials, write_bill

    pytest.importorskip("cyclonedx")
    path = tmp_path / "bill" / "data.cdx.json"
    write_bill(bill_of_materials(IMAGES["data"]), path)
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None
    text = path.read_text()
    assert "pkg:pypi/pyarrow@" in text
    assert "pkg:deb/debian/git@" in text
