"""A loss and what it is made of."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Losses:
    """The scalar to minimise, and named parts to report."""

    total: "torch.Tensor"
    """Scalar with gradient."""
    parts: dict[str, "torch.Tensor"] = field(default_factory=dict)
    """Scalars or vectors by name; they are logged, never minimised."""
