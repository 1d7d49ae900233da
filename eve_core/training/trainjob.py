"""Training on several machines of a cluster: a TrainJob of Kubeflow Trainer runs torchrun on each of them."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config import LaunchConfig, TrainJobConfig
from eve_core.errors import UserError
from eve_core.training.job import TrainingJob
from eve_core.training.launch import MetricsFollower, forget, raise_failure, sigterm_to
from eve_core.training.monitor import KeepFolder, LogMetrics

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient

_GOING_ON, _COMPLETE, _FAILED, _BEING_DELETED = "going on", "Complete", "Failed", "being deleted"
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_FOR_AN_ANSWER = 60.0
_PATIENCE = 900.0
"""Seconds for which a cluster may not answer, as while its control plane is upgraded, or its pods may take to end."""
_LINES = 50
_NODE = "node"
"""What the training runtimes call the replicated job, and the container in it, that trains."""


def run_trainjob(
    job: TrainingJob, launch: LaunchConfig, log: LogMetrics | None = None, keep: KeepFolder | None = None
) -> None:
    """Submit `job` as a TrainJob, follow it to its end, and leave nothing behind but where the cluster does not answer.

    What is not on the volume that all nodes mount goes there first, and the model comes from there afterwards. A
    TrainJob of the same training that is there already, because whoever followed it was killed, is followed on.

    Args:
        job: what is trained; its data and its scratch folder are on the volume that all nodes mount.
        launch: nodes, processes a node, and the cluster's settings.
        log: called with metrics and step.
        keep: called with a folder of pictures that there are new ones in.

    Raises:
        UserError: see `TrainingJob.run`; or the TrainJob failed, with its last events; or the cluster does not answer.
        Preempted: it was told to stop, and saved.
    """
    config = launch.trainjob
    assert config is not None
    client = _client(config)
    whole, job = job, on_volume(job)
    path = Path(job.scratch) / "job.json"
    name = job_name(job)
    status = _status(client, config, name, patient=False)
    if status in (_FAILED, _BEING_DELETED):
        _delete(client, config, name)
    if status in (None, _FAILED, _BEING_DELETED):
        forget(path)
        job.write(path)
        _submit(client, manifest(name, path, launch), config)
    events: list[str] = []
    told_to_stop: list[bool] = []
    with (
        _deleted_in_the_end(client, config, name),
        sigterm_to(lambda: told_to_stop.append(True)),
        MetricsFollower(path, log, keep) as metrics,
    ):
        while (status := _status(client, config, name)) not in (_COMPLETE, _FAILED, None):
            metrics.look()
            for event in _new_events(client, name, events):
                print(event, flush=True)
            if told_to_stop:
                _delete(client, config, name)  # whose pods get SIGTERM, and save
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if status == _FAILED:
            print(*_last_words(client, name), sep="\n", flush=True)
        events += _new_events(client, name, events)
    if status != _COMPLETE:
        raise_failure(path, told_to_stop=bool(told_to_stop))
        told = "; ".join(events[-3:]) or "it left no events"
        raise UserError(f"{job.name}: TrainJob {name} in namespace {config.namespace} failed: {told}")
    shutil.copytree(job.out, whole.out, dirs_exist_ok=True)


def on_volume(job: TrainingJob) -> TrainingJob:
    """The same training with all of its folders on the volume, beside its checkpoints."""
    folder = Path(job.scratch) / "on_volume"
    folder.mkdir(parents=True, exist_ok=True)
    there: dict[str, Any] = {"out": str(folder / "out")}
    for name in ("validated", "pretrained"):
        source = getattr(job, name)
        if source is not None:
            there[name] = str(folder / name)
            if not (folder / name).exists():
                copied = Path(shutil.copytree(source, folder / f".{name}", dirs_exist_ok=True))
                copied.rename(folder / name)
    return replace(job, **there)


def job_name(job: TrainingJob) -> str:
    """Of a training's TrainJob: the same one for the same checkpoints."""
    return f"eve-{hashlib.sha256(job.scratch.encode()).hexdigest()[:12]}"


def manifest(name: str, path: Path, launch: LaunchConfig) -> dict[str, Any]:
    """The TrainJob.

    Args:
        name: of it.
        path: the training as a file, on the volume that all nodes mount.
        launch: nodes, processes a node, and the cluster's settings.
    """
    config = launch.trainjob
    assert config is not None
    volumes: list[dict[str, Any]] = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": config.volume_claim}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": config.shared_memory}},
    ]
    mounts = [
        {"name": "workspace", "mountPath": config.mount_path},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}
        for variable, secret in config.secrets.items()
    ]
    pod: dict[str, Any] = {
        "nodeSelector": config.node_selector,
        "tolerations": config.tolerations,
        "volumes": volumes,
        "containers": [{"name": _NODE, "volumeMounts": mounts}],
    }
    if config.service_account:
        pod["serviceAccountName"] = config.service_account
    quantities = {"nvidia.com/gpu": config.gpus_per_node, "cpu": config.cpu, "memory": config.memory}
    limits = {kind: str(quantity) for kind, quantity in quantities.items() if quantity}
    return {
        "apiVersion": config.api_version,
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": config.namespace, "labels": config.labels},
        "spec": {
            "runtimeRef": {
                "apiGroup": config.api_version.partition("/")[0],
                "kind": "ClusterTrainingRuntime",
                "name": config.runtime,
            },
            "activeDeadlineSeconds": config.deadline,
            "trainer": {
                "image": config.image,
                # The runtime's controller tells torchrun by its PET_ variables how many nodes there are, and where.
                "command": ["torchrun", "-m", "eve_core.training"],
                "args": [str(path)],
                "numNodes": launch.nodes,
                "numProcPerNode": config.gpus_per_node if launch.processes == "gpus" else launch.processes,
                "resourcesPerNode": {"limits": limits, "requests": limits},
                "env": secrets,
            },
            "runtimePatches": [
                {
                    "manager": "eve/pipeline",
                    "trainingRuntimeSpec": {
                        "template": {
                            "spec": {
                                "replicatedJobs": [{"name": _NODE, "template": {"spec": {"template": {"spec": pod}}}}]
                            }
                        }
                    },
                }
            ],
        },
    }


def _client(config: TrainJobConfig) -> "TrainerClient":
    from kubeflow.trainer import KubernetesBackendConfig, TrainerClient
    from kubernetes.config import ConfigException

    try:
        return TrainerClient(KubernetesBackendConfig(namespace=config.namespace, config_file=config.kube_config))
    except ConfigException as error:
        raise UserError(
            f"launch.trainjob needs a cluster, and there is none to speak to ({error}); run it in the cluster, or set "
            "KUBECONFIG"
        ) from None


class _NoAnswerError(UserError):
    """Nobody knows how the TrainJob is."""


def _place(config: TrainJobConfig) -> tuple[str, str, str, str]:
    """Where the API has TrainJobs."""
    group, version = config.api_version.split("/")
    return group, version, config.namespace, "trainjobs"


def _submit(client: "TrainerClient", content: dict[str, Any], config: TrainJobConfig) -> None:
    from kubernetes.client import ApiException

    try:
        client.backend.custom_api.create_namespaced_custom_object(*_place(config), content)
    except ApiException as error:
        said = json.loads(error.body).get("message", error.reason) if error.body else error.reason
        raise UserError(
            f"the cluster refused TrainJob {content['metadata']['name']} in namespace {config.namespace}: {said}"
        ) from None


def _ask(call: Callable[..., Any], config: TrainJobConfig, name: str, *, patient: bool = True, **options: Any) -> Any:
    """The API's answer about a TrainJob, None when there is no such; asked again if there is patience with it.

    Raises:
        _NoAnswerError: there was none.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    until = time.monotonic() + (_PATIENCE if patient else 0)
    while True:
        try:
            return call(*_place(config), name, _request_timeout=_SECONDS_FOR_AN_ANSWER, **options)
        except (ApiException, HTTPError) as error:
            if isinstance(error, ApiException) and error.status == 404:
                return None
            if time.monotonic() >= until:
                raise _NoAnswerError(
                    f"the cluster does not say how TrainJob {name} in namespace {config.namespace} is "
                    f"({' '.join(str(error).split())}); it is left as it is: run this again to follow it"
                ) from error
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _status(client: "TrainerClient", config: TrainJobConfig, name: str, *, patient: bool = True) -> str | None:
    """How the TrainJob is; None when there is no such.

    The SDK's `get_job` does not tell a TrainJob that is gone from a runtime that is, and fails where its pods cannot be
    listed.
    """
    answer = _ask(client.backend.custom_api.get_namespaced_custom_object, config, name, patient=patient)
    if answer is None:
        return None
    if "deletionTimestamp" in answer["metadata"]:
        return _BEING_DELETED
    conditions = answer.get("status", {}).get("conditions", [])
    ended = [one["type"] for one in conditions if one["type"] in (_COMPLETE, _FAILED) and one["status"] == "True"]
    return ended[0] if ended else _GOING_ON


def _delete(client: "TrainerClient", config: TrainJobConfig, name: str) -> None:
    """Take it away, and wait until its pods have ended: they save, and keep others from their checkpoints."""
    api = client.backend.custom_api
    _ask(api.delete_namespaced_custom_object, config, name, propagation_policy="Foreground")
    until = time.monotonic() + _PATIENCE
    while _status(client, config, name) is not None and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def _deleted_in_the_end(client: "TrainerClient", config: TrainJobConfig, name: str) -> Iterator[None]:
    try:
        yield
    except _NoAnswerError:
        raise  # it may train well
    except BaseException:
        _delete(client, config, name)
        raise
    _delete(client, config, name)


def _last_words(client: "TrainerClient", name: str) -> list[str]:
    """The end of the first node's log."""
    try:
        return [*client.get_job_logs(name)][-_LINES:]
    except (RuntimeError, TimeoutError):
        return []


def _new_events(client: "TrainerClient", name: str, known: list[str]) -> list[str]:
    """What happened to the job and its pods since; added to `known`."""
    try:
        events = [
            f"{event.involved_object_name}: {event.reason}, {event.message}" for event in client.get_job_events(name)
        ]
    except Exception:  # the SDK lets through some of those of its client
        return []  # it is gone, or the cluster is busy: the next look tells
    fresh = [event for event in events if event not in known]
    known += fresh
    return fresh
