"""What the compiled pipeline promises to whatever runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from eve_core.config import RunConfig, load_config
from pipelines.eve_training.check import compile_pipeline

NEVER_CACHED = {"resolve-data", "find-baseline", "gate", "register", "promote", "report"}
ON_DATA_IMAGE = {"resolve-data", "fetch-data", "validate-data", "find-baseline", "gate", "report"}
_CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_pipeline(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config(_CONFIGS / "eve_base_cluster.yaml")


@pytest.fixture(scope="module")
def on_cluster(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline for a cluster, and by step what it asks of Kubernetes."""
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(path, config)
    pipeline, platform = yaml.safe_load_all(path.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return pipeline, {name.removeprefix("exec-"): asked for name, asked in executors.items()}


def _tasks(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graphs = [compiled["root"], *compiled["components"].values()]
    return {name: task for graph in graphs for name, task in graph.get("dag", {}).get("tasks", {}).items()}


def _containers(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors = compiled["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


def test_steps_that_look_at_moving_things_or_act_are_never_cached(compiled: dict[str, Any]) -> None:
    cached = {
        name: task.get("cachingOptions", {}).get("enableCache", False)
        for name, task in _tasks(compiled).items()
        if f"exec-{name}" in compiled["deploymentSpec"]["executors"]
    }
    assert {name for name, enabled in cached.items() if not enabled} == NEVER_CACHED
    assert {name for name, enabled in cached.items() if enabled} == {
        "fetch-data",
        "validate-data",
        "pretrain",
        "finetune",
        "evaluate",
    }


def test_registration_waits_for_the_gate_and_its_condition_is_on_an_unnamed_bool(compiled: dict[str, Any]) -> None:
    (condition,) = [task for name, task in _tasks(compiled).items() if name.startswith("condition")]
    assert condition["dependentTasks"] == ["evaluate", "finetune", "gate"]
    assert condition["triggerPolicy"]["condition"].endswith("== true")
    assert "gate-Output" in condition["triggerPolicy"]["condition"]


def test_the_report_runs_whatever_happened(compiled: dict[str, Any]) -> None:
    report = compiled["root"]["dag"]["tasks"]["report"]
    assert report["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_pre_training_waits_for_validation(compiled: dict[str, Any]) -> None:
    assert set(_tasks(compiled)["pretrain"]["dependentTasks"]) == {"fetch-data", "validate-data"}


def test_no_component_installs_anything(compiled: dict[str, Any]) -> None:
    for container in _containers(compiled).values():
        assert "pip install" not in " ".join(container["command"])


def test_every_step_has_its_image_limits_time_and_retries(on_cluster: Any, config: RunConfig) -> None:
    pipeline, asked = on_cluster
    assert config.cluster is not None
    containers, tasks = _containers(pipeline), _tasks(pipeline)
    assert set(asked) == set(containers)
    for name, container in containers.items():
        images = config.cluster.images
        assert container["image"] == (images.data if name in ON_DATA_IMAGE else images.train), name
        resources = container["resources"]
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"]
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"]
        kind = name if name in ("pretrain", "finetune", "evaluate") else "data"
        kind = "evaluate" if name in ("register", "promote") else kind
        wanted = getattr(config.cluster, kind)
        assert resources["resourceMemoryLimit"] == wanted.memory
        assert int(asked[name]["activeDeadlineSeconds"]) == wanted.hours * 3600
        retry = tasks[name]["retryPolicy"]
        assert (retry["maxRetryCount"], retry["backoffFactor"]) == (wanted.retries, 1.0)
        every_attempt = int(wanted.hours * 3600 * (wanted.retries + 1))  # Argo counts from the first one's start
        assert (retry["backoffDuration"], retry["backoffMaxDuration"]) == ("300s", f"{every_attempt}s")


def test_every_step_has_volume_user_run_key_and_secrets_by_reference(on_cluster: Any) -> None:
    for name, asked in on_cluster[1].items():
        (mount,) = asked["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("eve-workspace", "/workspace"), name
        assert asked["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        (field,) = asked["fieldPathAsEnv"]
        assert field == {"name": "EVE_PIPELINE_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}
        secrets = {
            entry["keyToEnv"][0]["envVar"]: (entry["secretName"], entry["keyToEnv"][0]["secretKey"])
            for entry in asked["secretAsEnv"]
        }
        assert secrets["AWS_SECRET_ACCESS_KEY"] == ("eve-s3", "secret_access_key")
        assert secrets["EVE_WEBHOOK_URL"] == ("eve-notification", "webhook")


def test_steps_with_gpus_go_to_the_a100_pool_spot_nodes_first(on_cluster: Any) -> None:
    pipeline, asked = on_cluster
    containers = _containers(pipeline)
    with_gpus = {name for name, container in containers.items() if "accelerator" in container["resources"]}
    assert with_gpus == {"finetune", "evaluate", "register", "promote"}  # a TrainJob's nodes pre-train
    for name in asked:
        if name not in with_gpus:
            assert "nodeSelector" not in asked[name]
            continue
        assert containers[name]["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
        labels = asked[name]["nodeSelector"]["labels"]
        assert labels == {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}
        tolerated = {toleration["key"]: toleration for toleration in asked[name]["tolerations"]}
        assert tolerated["nvidia.com/gpu"] == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        assert tolerated["cloud.google.com/gke-spot"]["value"] == "true"
        (preferred,) = asked[name]["nodeAffinity"]
        assert preferred["weight"] == 100
        assert preferred["matchExpressions"] == [
            {"key": "cloud.google.com/gke-spot", "operator": "In", "values": ["true"]}
        ]
        (memory,) = asked[name]["emptyDirMounts"]
        assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")


def test_tasks_run_side_by_side(compiled: dict[str, Any]) -> None:
    (loop,) = [task for name, task in _tasks(compiled).items() if "parameterIterator" in task]
    assert "iteratorPolicy" not in loop  # no limit


def test_caching_can_be_switched_off_as_a_whole(config: RunConfig, tmp_path: Path) -> None:
    assert config.cluster is not None
    uncached = config.model_copy(update={"cluster": config.cluster.model_copy(update={"caching": False})})
    pipeline = compile_pipeline(tmp_path / "p.yaml", uncached)
    steps = [
        task for name, task in _tasks(pipeline).items() if f"exec-{name}" in pipeline["deploymentSpec"]["executors"]
    ]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in steps)


def test_the_minimal_twin_asks_for_little_and_holds_the_config(config: RunConfig, tmp_path: Path) -> None:
    pipeline = compile_pipeline(tmp_path / "minimal.yaml", config, minimal=True)
    assert pipeline["pipelineInfo"]["name"] == "eve-training-minimal"
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"revision", "tasks"}
    assert all(parameter["isOptional"] for parameter in parameters.values())
    assert [task["target"] for task in parameters["tasks"]["defaultValue"]] == ["vqa", "nlvr2", "retrieval"]
    assert "480000" in (tmp_path / "minimal.yaml").read_text()  # steps of pre-training
    assert set(_containers(pipeline)) == set(_containers(compile_pipeline(tmp_path / "whole.yaml", config)))


def test_nothing_secret_is_compiled(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "EVE_WEBHOOK_URL", "KFP_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "hidden")
    for minimal in (False, True):
        compile_pipeline(tmp_path / "p.yaml", config, minimal=minimal)
        assert "hidden" not in (tmp_path / "p.yaml").read_text()
