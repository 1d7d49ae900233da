"""Kubeflow Pipelines on a cluster: where it is, and what the steps ask of its nodes."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from eve_core.config.section import Section
from eve_core.config.training import SecretKey


class ImagesConfig(Section):
    """The images that steps run on, as the cluster's registry has them."""

    data: str
    """Of the steps on data, the gate and the registry."""
    train: str
    """Of the steps that train, score and serve."""

    @field_validator("data", "train")
    @classmethod
    def _pinned(cls, image: str) -> str:
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            raise ValueError(f"{image} has no fixed tag, so that nobody knows what ran; write image:tag or a digest")
        return image


class StepResources(Section):
    """What a step's pod gets, as request and limit."""

    cpu: str = "2"
    """Cores, such as "8" or "500m"."""
    memory: str = "8Gi"
    """Memory."""
    gpus: int = Field(default=0, ge=0)
    """GPUs; above 0 the pod goes to the GPU pool."""
    shared_memory: str | None = None
    """Of /dev/shm, through which loader workers hand over batches."""
    hours: float = Field(default=6, gt=0)
    """After which the pod is ended."""
    retries: int = Field(default=2, ge=0)
    """How often it starts again after it failed or was told to stop; training goes on from its last checkpoint."""


class GpuPoolConfig(Section):
    """The nodes with GPUs, as the scheduler knows them."""

    accelerator: str = "nvidia.com/gpu"
    """What the cluster calls a GPU."""
    node_selector: dict[str, str] = {}
    """Labels of the pool's nodes."""
    tolerations: list[dict[str, Any]] = []
    """Its taints, as in a pod."""
    prefer: dict[str, str] = {}
    """Labels of the nodes to take as long as there are any, such as those of the spot pool; others are taken after."""


class ClusterConfig(Section):
    """How the pipeline runs on Kubeflow."""

    endpoint: str
    """URL of the Kubeflow Pipelines API. A token for it comes from the variable KFP_TOKEN, or from the pod."""
    namespace: str = "kubeflow"
    """Where its pods run."""
    experiment: str = "eve"
    """Experiment of Kubeflow Pipelines that runs are listed under."""
    pipeline_root: str | None = None
    """Where artifacts are kept, such as s3://bucket/prefix; Kubeflow's own place when not given."""
    images: ImagesConfig
    """What steps run on."""
    service_account: str = "eve-pipeline"
    """Of its pods."""
    volume_claim: str = "eve-workspace"
    """Claim of a volume that every step mounts (ReadWriteMany): data and checkpoints are there, and `workspace` too."""
    mount_path: str = "/workspace"
    """Where."""
    secrets: dict[str, SecretKey] = {}
    """Environment variables of all steps, and the secrets that they come from."""
    gpu_pool: GpuPoolConfig = GpuPoolConfig()
    """Where steps with GPUs go."""
    node_pools: Path | None = None
    """File that declares the cluster's node pools (ContainerNodePool), which `eve check` holds the above against."""
    data: StepResources = StepResources()
    """Steps that fetch and validate data, judge and register."""
    pretrain: StepResources = StepResources(cpu="16", memory="64Gi", hours=14 * 24, retries=20)
    """Pre-training. Where a TrainJob trains, this is the pod that follows it."""
    finetune: StepResources = StepResources(cpu="16", memory="64Gi", hours=48, retries=5)
    """Fine-tuning of a task."""
    evaluate: StepResources = StepResources(cpu="8", memory="32Gi", hours=12)
    """Scoring, and the serving check before promotion."""
    caching: bool = True
    """Whether finished steps of earlier runs are reused."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes ask the registry for an image."""

    @model_validator(mode="after")
    def _gpus_have_a_pool(self) -> Self:
        wanting = [name for name in ("pretrain", "finetune", "evaluate") if getattr(self, name).gpus]
        if wanting and not self.gpu_pool.node_selector:
            raise ValueError(f"{', '.join(wanting)} ask for GPUs, but gpu_pool.node_selector names no nodes; set it")
        if self.endpoint.partition("://")[0] not in ("http", "https"):
            raise ValueError(f"endpoint {self.endpoint} is no URL; write http://... or https://...")
        return self
