"""Training on a cluster's nodes: submitted, followed, and told apart how it ended."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from eve_core.config import LaunchConfig, TrainJobConfig
from eve_core.errors import Preempted, UserError
from eve_core.training import TrainingJob, launch, trainjob
from eve_core.training.trainjob import job_name, manifest, on_volume
from tests.training.cluster import Cluster, wait_for_submission
from tests.training.test_distributed import job_of, losses

pytestmark = pytest.mark.slow(minutes=4)

ACCESS = Path(__file__).parents[2] / "infra" / "kustomize" / "base" / "access.yaml"
FOREGROUND = "propagationPolicy=Foreground"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(trainjob, "_SECONDS_BETWEEN_LOOKS", 0.1)
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def launch_on(cluster: Cluster, nodes: int = 2, **changes) -> LaunchConfig:
    settings = {
        "image": "registry/eve-train:1",
        "volume_claim": "eve-workspace",
        "namespace": "eve",
        "kube_config": str(cluster.kube_config),
        "gpus_per_node": 8,
        "memory": "900Gi",
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "secrets": {"MLFLOW_TRACKING_TOKEN": {"name": "mlflow", "key": "token"}},
        "service_account": "eve-training",
        "labels": {"kueue.x-k8s.io/queue-name": "a100"},
    }
    return LaunchConfig(nodes=nodes, processes=1, trainjob=TrainJobConfig.model_validate({**settings, **changes}))


def submitted(job: TrainingJob, cluster: Cluster) -> LaunchConfig:
    """As whoever follows it would; that one was killed."""
    config = launch_on(cluster, nodes=1)
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir(parents=True)
    on_volume(job).write(path)
    cluster.submit(manifest(job_name(job), path, config))
    return config


def test_two_nodes_train_and_the_job_is_gone_afterwards(prepared, tmp_path, cluster, capfd):
    job = job_of(prepared, tmp_path / "run")
    logged: list[int] = []
    launch(job, launch_on(cluster), lambda metrics, step: logged.append(step))
    assert logged == list(range(1, 21))
    assert len(losses(job)) == 20
    assert (Path(job.out) / "model.safetensors").is_file()
    assert cluster.deleted == [job_name(job)]
    assert f"{job_name(job)}-node-0: Scheduled, assigned to a100-pool-1" in capfd.readouterr().out


def test_the_manifest_asks_for_what_the_config_says(prepared, tmp_path, cluster):
    content = manifest(
        "eve-1", Path("/workspace/job.json"), launch_on(cluster, nodes=3).model_copy(update={"processes": "gpus"})
    )
    spec = content["spec"]
    assert content["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "a100"}
    assert spec["trainer"]["numNodes"] == 3
    assert spec["trainer"]["numProcPerNode"] == 8
    assert spec["trainer"]["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": "8", "memory": "900Gi"}
    pod = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    pod = pod["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["serviceAccountName"] == "eve-training"
    (container,) = pod["containers"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/workspace", "/dev/shm"}
    assert spec["trainer"]["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "mlflow", "key": "token"}


def test_what_training_fails_of_is_what_the_step_fails_of(prepared, tmp_path, cluster):
    job = job_of(prepared, tmp_path / "run", learning_rate=1e30)
    with pytest.raises(UserError, match=r"step \d was not taken, because loss or gradient is not finite"):
        launch(job, launch_on(cluster, nodes=1), None)
    assert cluster.jobs == {}


def test_a_job_that_dies_without_a_word_leaves_its_events_and_its_log(prepared, tmp_path, cluster, capfd):
    cluster.failing = True
    job = job_of(prepared, tmp_path / "run")
    with pytest.raises(UserError, match=r"TrainJob eve-\w+ in namespace eve failed: eve-\w+-node-0: Scheduled"):
        launch(job, launch_on(cluster, nodes=1), None)
    assert "absent.json" in capfd.readouterr().out
    assert cluster.jobs == {}


def test_a_refusal_by_the_cluster_is_a_sentence(prepared, tmp_path, cluster):
    with pytest.raises(UserError, match=r"the cluster refused TrainJob eve-\w+ in namespace eve: exceeded quota: gpus"):
        launch(job_of(prepared, tmp_path / "run"), launch_on(cluster, nodes=5), None)


def test_sigterm_lets_the_nodes_save_and_takes_the_job_away(prepared, tmp_path, cluster):
    job = job_of(prepared, tmp_path / "run", steps=100_000, checkpoint_steps=100_000)
    reached = threading.Event()

    def stop_soon() -> None:
        reached.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_soon, daemon=True).start()
    with pytest.raises(Preempted, match=r"was told to stop \(SIGTERM\) and saved step"):
        launch(job, launch_on(cluster, nodes=1), lambda metrics, step: reached.set())
    assert cluster.deleted == [job_name(job)]
    assert [*Path(job.scratch).glob("checkpoint-*")]


def test_a_job_that_is_there_already_is_followed(prepared, tmp_path, cluster):
    """Whoever submitted it was killed."""
    job = job_of(prepared, tmp_path / "run")
    config = submitted(job, cluster)
    wait_for_submission(cluster)
    launch(job, config, None)
    assert len(cluster.submitted) == 1
    assert len(losses(job)) == 20


def test_a_job_that_is_being_deleted_is_waited_for(prepared, tmp_path, cluster):
    job = job_of(prepared, tmp_path / "run", steps=4)
    config = submitted(job, cluster)
    cluster.delete(f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/eve/trainjobs/{job_name(job)}?{FOREGROUND}")
    launch(job, config, None)
    assert len(cluster.submitted) == 2
    assert len(losses(job)) == 4


def test_a_cluster_that_is_silent_for_a_while_ends_nothing(prepared, tmp_path, cluster):
    job = job_of(prepared, tmp_path / "run", steps=4)
    launch(job, launch_on(cluster, nodes=1), lambda metrics, step: setattr(cluster, "silent", 4))
    assert len(losses(job)) == 4


def test_a_cluster_that_stays_silent_leaves_its_job_to_the_next_try(prepared, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(trainjob, "_PATIENCE", 0.0)
    job = job_of(prepared, tmp_path / "run", steps=4)
    with pytest.raises(
        UserError, match=r"does not say how TrainJob eve-\w+ in namespace eve is \(\(503\).*run this again"
    ):
        launch(job, launch_on(cluster, nodes=1), lambda metrics, step: setattr(cluster, "silent", 1000))
    assert cluster.deleted == []
    cluster.silent = 0
    launch(job, launch_on(cluster, nodes=1), None)
    assert len(cluster.submitted) == 1
    assert len(losses(job)) == 4


def test_the_pipelines_account_may_do_what_following_a_job_takes(prepared, tmp_path, cluster):
    cluster.failing = True
    with pytest.raises(UserError, match="failed"):
        launch(job_of(prepared, tmp_path / "run"), launch_on(cluster, nodes=1), None)
    granted = {
        (verb, group, resource)
        for document in yaml.safe_load_all(ACCESS.read_text())
        for rule in document.get("rules", ())
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {("get", "trainer.kubeflow.org", "trainingruntimes"), ("get", "", "pods/log")} <= cluster.asked
    # The SDK takes the controller's version for its log from there, and does without.
    assert cluster.asked - {("get", "", "configmaps")} <= granted


def test_without_a_cluster_it_says_so(prepared, tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    job = replace(job_of(prepared, tmp_path / "run"))
    with pytest.raises(UserError, match="needs a cluster, and there is none to speak to"):
        launch(job, launch_on(cluster, kube_config=None), None)
