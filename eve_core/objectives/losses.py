"""A loss and what it is made of."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Losses:
    """The scalar to minimise, and what to report. Of a micro-batch, all losses are its share of the step's."""

    total: "torch.Tensor"
    """Scalar with gradient."""
    parts: dict[str, "torch.Tensor"] = field(default_factory=dict)
    """Scalars by name that `total` is made of; micro-batches' add up."""
    seen: dict[str, "torch.Tensor"] = field(default_factory=dict)
    """Scalars or vectors by name that describe the batch; micro-batches' are averaged."""
