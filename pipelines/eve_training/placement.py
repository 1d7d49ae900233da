"""What a step asks of the cluster: image, processor, memory, GPUs, nodes, volume, secrets, time, retries."""

from typing import Literal

from kfp import dsl

from components.step import RUN_KEY_VARIABLE
from eve_core.config import ClusterConfig

Kind = Literal["data", "pretrain", "finetune", "evaluate"]
_USER = 10001
"""Of the images."""


def place(task: dsl.PipelineTask, kind: Kind, cluster: ClusterConfig | None) -> dsl.PipelineTask:
    """Ask for what a kind of step gets on `cluster`; nothing for a run on this machine, which would not heed it."""
    if cluster is None:
        return task
    from kfp import kubernetes

    asked = getattr(cluster, kind)
    task.set_container_image(cluster.images.data if kind == "data" else cluster.images.train)
    task.set_cpu_request(asked.cpu).set_cpu_limit(asked.cpu)
    task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if asked.retries:
        # The longest duration is that of all attempts together: later ones would not be made.
        longest = int(asked.hours * 3600 * (asked.retries + 1))
        task.set_retry(asked.retries, backoff_duration="300s", backoff_factor=1, backoff_max_duration=f"{longest}s")
    if asked.gpus:
        _to_gpu_pool(task, asked.gpus, cluster)
    if asked.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=asked.shared_memory)
    kubernetes.set_timeout(task, int(asked.hours * 3600))
    kubernetes.set_image_pull_policy(task, cluster.image_pull_policy)
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
    kubernetes.mount_pvc(task, pvc_name=cluster.volume_claim, mount_path=cluster.mount_path)
    # Kubeflow labels every pod with the id of its run.
    kubernetes.use_field_path_as_env(task, RUN_KEY_VARIABLE, "metadata.labels['pipeline/runid']")
    for variable, secret in cluster.secrets.items():
        kubernetes.use_secret_as_env(task, secret.name, {secret.key: variable})
    return task


def _to_gpu_pool(task: dsl.PipelineTask, gpus: int, cluster: ClusterConfig) -> None:
    from kfp import kubernetes

    pool = cluster.gpu_pool
    task.set_accelerator_type(pool.accelerator).set_accelerator_limit(gpus)
    for label, value in pool.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in pool.tolerations:
        named = {"tolerationSeconds": "toleration_seconds"}
        kubernetes.add_toleration(task, **{named.get(key, key): value for key, value in toleration.items()})
    for label, value in pool.prefer.items():
        wanted = {"key": label, "operator": "In", "values": [value]}
        kubernetes.add_node_affinity(task, match_expressions=[wanted], weight=100)
