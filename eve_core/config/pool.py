"""The machines that a run trains on."""

from pydantic import Field

from eve_core.config.section import Section


class PoolConfig(Section):
    """A pool of GPU nodes, as `eve plan` reckons with it."""

    gpu: str = "A100 80 GB"
    """What people call the GPU."""
    memory_gb: float = Field(default=80.0, gt=0)
    """Memory of one GPU."""
    peak_tflops: float = Field(default=312.0, gt=0)
    """Of one GPU in bfloat16, without sparsity, from its data sheet."""
    expected_mfu: float = Field(default=0.35, gt=0, le=1)
    """Share of the peak that training is expected to reach; the runs' own figures are in MLflow as mfu."""
    gpus_per_node: int = Field(default=8, gt=0)
    """GPUs of one node."""
    price_per_node_hour: dict[str, float] = {}
    """By kind of node (on_demand, spot) what an hour of it costs, in any currency."""
