"""The cluster: every overlay renders, holds to Kubernetes' schemas, and declares just what the pipelines ask for."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api import models as trainer
from kubernetes import client as kubernetes

from eve_core.config import load_config
from pipelines.eve_training.check import compile_pipeline, node_pools

_ROOT = Path(__file__).parents[2]
_OVERLAYS = ("local", "gke")
_CONFIG = _ROOT / "configs" / "eve_base_cluster.yaml"
_NO_SCHEMA = {"ExternalSecret", "ContainerNodePool"}  # of operators that publish none for Python


@pytest.fixture(scope="module", params=_OVERLAYS)
def rendered(request) -> list[dict[str, Any]]:
    return _render(request.param)


@pytest.fixture(scope="module")
def cluster() -> list[dict[str, Any]]:
    return _render("gke")


def _render(overlay: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    folder = _ROOT / "infra" / "kustomize" / "overlays" / overlay
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def _named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def _pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod specs by what makes them."""
    found = {
        f"{document['kind']} {document['metadata']['name']}": document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] in ("Deployment", "StatefulSet")
    }
    for name, runtime in _named(documents, "ClusterTrainingRuntime").items():
        (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        found[f"runtime {name}"] = job["template"]["spec"]["template"]["spec"]
    return found


def _faults(content: Any, kind: str, path: str) -> list[str]:
    """Where `content` is not of Kubernetes' published model `kind`."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(content, list):
            return [f"{path} is no list"]
        return [fault for place, item in enumerate(content) for fault in _faults(item, match[1], f"{path}[{place}]")]
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(content, dict):
            return [f"{path} is no mapping"]
        return [fault for name, item in content.items() for fault in _faults(item, match[1], f"{path}.{name}")]
    model = getattr(kubernetes, kind, None)
    if model is None:
        allowed = {"str": str, "int": int, "bool": bool, "float": (int, float)}.get(kind, object)
        wrong = not isinstance(content, allowed) or (kind == "int" and isinstance(content, bool))
        return [f"{path} is {content!r}, not {kind}"] if wrong else []
    if not isinstance(content, dict):
        return [] if kind == "IntOrString" else [f"{path} is {content!r}, not {kind}"]
    by_name = {model.attribute_map[name]: found for name, found in model.openapi_types.items()}
    faults = [f"{path}.{name} is unknown to {kind}" for name in content if name not in by_name]
    for name, value in content.items():
        if name in by_name:
            faults += _faults(value, by_name[name], f"{path}.{name}")
    snake = {json_name: name for name, json_name in model.attribute_map.items()}
    configuration = kubernetes.Configuration()
    configuration.client_side_validation = True
    try:
        model(
            local_vars_configuration=configuration, **{snake[name]: content[name] for name in content if name in snake}
        )
    except ValueError as error:  # what is required and missing
        faults.append(f"{path}: {error}")
    return faults


def _model_of(document: dict[str, Any]) -> str:
    version = document["apiVersion"].rpartition("/")[2]
    return f"V{version[1:].title()}{document['kind']}".replace("Alpha", "alpha").replace("Beta", "beta")


def test_everything_is_of_kubernetes_schemas(rendered):
    for document in rendered:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "ClusterTrainingRuntime":
            parsed = trainer.TrainerV1alpha1ClusterTrainingRuntime.from_dict(document)
            known = parsed.to_dict()["spec"]
            assert _without_empty(known) == _without_empty(document["spec"])
        elif kind not in _NO_SCHEMA:
            assert hasattr(kubernetes, _model_of(document)), f"{kind} {document['apiVersion']}"
            assert _faults(document, _model_of(document), f"{kind} {name}") == []


def test_the_schema_check_finds_what_is_wrong():
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": [], "ports": [{}]}}
    faults = " ".join(_faults(wrong, "V1Service", "Service x"))
    assert "Service x.spec.port is unknown to V1ServiceSpec" in faults
    assert "`port`, must not be `None`" in faults


def _without_empty(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_empty(value) for key, value in tree.items() if value is not None}
    return [_without_empty(value) for value in tree] if isinstance(tree, list) else tree


def test_pods_meet_the_restricted_standard(rendered):
    for name, pod in _pods(rendered).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag not in ("", "latest"), container["image"]


def test_nothing_goes_in_or_out_that_is_not_named(rendered):
    policies = _named(rendered, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    components = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for document in rendered
        if document["kind"] in ("Deployment", "StatefulSet")
        for pod in [document["spec"]["template"]]
    }
    chosen = {
        policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
        for policy in policies.values()
    }
    assert components <= chosen


def test_nobody_may_do_everything(rendered):
    for document in rendered:
        if document["kind"] in ("Role", "ClusterRole"):
            for rule in document["rules"]:
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
                assert "secrets" not in rule["resources"] or (rule["verbs"] == ["get"] and rule["resourceNames"])


def test_no_secret_is_declared_with_its_content(rendered):
    assert _named(rendered, "Secret") == {}


def test_the_local_overlay_needs_no_operator_for_secrets_and_no_gpu():
    documents = _render("local")
    assert _named(documents, "ExternalSecret") == {}
    assert {"postgres", "s3"} <= set(_named(documents, "StatefulSet"))
    assert _named(documents, "ResourceQuota")["eve"]["spec"]["hard"]["requests.nvidia.com/gpu"] == "0"


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict[str, set[Any]]:
    """What the pipeline of the cluster's config asks for."""
    config = load_config(_CONFIG)
    assert config.cluster is not None
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(path, config)
    _, platform = yaml.safe_load_all(path.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    trainjob = config.pretraining.launch.trainjob
    assert trainjob is not None
    return {
        "secrets": {
            (entry["secretName"], entry["keyToEnv"][0]["secretKey"])
            for one in executors
            for entry in one["secretAsEnv"]
        },
        "claims": {mount["constant"] for one in executors for mount in one["pvcMount"]} | {trainjob.volume_claim},
        "accounts": {config.cluster.service_account, str(trainjob.service_account)},
        "runtimes": {trainjob.runtime},
        "namespaces": {config.cluster.namespace, trainjob.namespace},
        "selectors": {
            *(tuple(one["nodeSelector"]["labels"].items()) for one in executors if "nodeSelector" in one),
            tuple(trainjob.node_selector.items()),
        },
        "tolerations": {
            *((one["key"], one["effect"]) for executor in executors for one in executor.get("tolerations", [])),
        },
    }


def _used_by_pods(documents: list[dict[str, Any]]) -> dict[str, set[Any]]:
    used: dict[str, set[Any]] = {"secrets": set(), "claims": set(), "accounts": set()}
    for pod in _pods(documents).values():
        used["accounts"].add(pod["serviceAccountName"])
        used["claims"] |= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod.get("volumes", [])
            if "persistentVolumeClaim" in volume
        }
        for container in pod["containers"]:
            used["secrets"] |= {
                (reference["name"], reference["key"])
                for variable in container.get("env", [])
                if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
            }
    return used


def test_secrets_are_declared_and_used(cluster, asked):
    declared = {
        (name, entry["secretKey"])
        for name, secret in _named(cluster, "ExternalSecret").items()
        for entry in secret["spec"]["data"]
    }
    assert declared == asked["secrets"] | _used_by_pods(cluster)["secrets"]


def test_claims_service_accounts_and_runtimes_are_declared_and_used(cluster, asked):
    used = _used_by_pods(cluster)
    assert set(_named(cluster, "PersistentVolumeClaim")) == asked["claims"] | used["claims"]
    assert set(_named(cluster, "ServiceAccount")) == asked["accounts"] | used["accounts"]
    assert set(_named(cluster, "ClusterTrainingRuntime")) == asked["runtimes"]
    assert {document["metadata"].get("namespace", "eve") for document in cluster} == asked["namespaces"] == {"eve"}


def test_priority_classes_are_declared_and_used(cluster):
    used = {pod["priorityClassName"] for pod in _pods(cluster).values()}
    assert set(_named(cluster, "PriorityClass")) == used


def test_every_pool_is_asked_for_and_every_selector_has_a_pool(asked):
    pools = node_pools(_ROOT / "infra" / "kustomize" / "overlays" / "gke" / "node_pools.yaml")
    for selector in asked["selectors"]:
        assert any(set(selector) <= labels.items() for labels in pools.values())
    for name, labels in pools.items():
        assert any(set(selector) <= labels.items() for selector in asked["selectors"]), name


def test_what_runs_tolerates_the_taints_of_the_pools(cluster, asked):
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute"}
    tainted = {("nvidia.com/gpu", "NoSchedule")}  # GKE's own, of every node with GPUs
    for pool in _named(cluster, "ContainerNodePool").values():
        tainted |= {(taint["key"], effects[taint["effect"]]) for taint in pool["spec"]["nodeConfig"].get("taint", [])}
    assert tainted == asked["tolerations"]
    trainjob = load_config(_CONFIG).pretraining.launch.trainjob
    assert trainjob is not None
    assert {(toleration["key"], toleration["effect"]) for toleration in trainjob.tolerations} == tainted


def test_steps_that_train_on_nodes_may_follow_their_trainjobs(cluster):
    rules = _named(cluster, "Role")["eve-pipeline"]["rules"]
    allowed = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {"create", "get", "list", "delete"} <= allowed["trainer.kubeflow.org", "trainjobs"]
    assert {"get", "list"} <= allowed["", "pods/log"] & allowed["", "events"]


def test_no_pod_of_a_training_starts_again_alone(cluster):
    (runtime,) = _named(cluster, "ClusterTrainingRuntime").values()
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert job["template"]["spec"]["backoffLimit"] == 0
    assert job["template"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_services_names_are_those_that_the_config_calls(cluster):
    config = load_config(_CONFIG)
    services = {
        f"{name}.eve:{service['spec']['ports'][0]['port']}" for name, service in _named(cluster, "Service").items()
    }
    assert config.registry.tracking_uri.removeprefix("http://") in services
    mlflow = _pods(cluster)["Deployment mlflow"]["containers"][0]
    allowed = next(variable["value"] for variable in mlflow["env"] if variable["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")
    assert config.registry.tracking_uri.removeprefix("http://") in allowed.split(",")
    worker = _pods(cluster)["Deployment prefect-worker"]["containers"][0]
    address = next(variable["value"] for variable in worker["env"] if variable["name"] == "PREFECT_API_URL")
    assert address.removeprefix("http://").removesuffix("/api") in services
    assert worker["command"][worker["command"].index("--pool") + 1] == config.schedule.work_pool
