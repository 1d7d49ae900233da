"""E feed-forward networks with stacked weights, each applied to its own group of rows."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig
from eve_core.model.fused import expert_feed_forward


class Experts(nn.Module):
    """E networks D -> F -> D.

    The weights are stacked so that one grouped product serves all experts, and so that every expert has a gradient
    (zero when no token reached it), which data parallelism needs.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        number, width, inner = config.num_experts, config.hidden_size, config.intermediate_size
        self.fc1_weight = nn.Parameter(torch.empty(number, width, inner))
        self.fc1_bias = nn.Parameter(torch.empty(number, inner))
        self.fc2_weight = nn.Parameter(torch.empty(number, inner, width))
        self.fc2_bias = nn.Parameter(torch.empty(number, width))
        self.hidden_act = config.hidden_act
        self.backend = config.experts_backend

    def forward(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Apply to each row its expert.

        Args:
            rows: (R, D), sorted by expert.
            counts: (E,) int64, how many rows each expert has; R in all.

        Returns:
            (R, D).
        """
        loop = rows.device.type == "cpu" if self.backend == "auto" else self.backend == "loop"
        if loop and self.hidden_act == "quick_gelu":
            fc1, fc2 = (self.fc1_weight, self.fc1_bias), (self.fc2_weight, self.fc2_bias)
            return expert_feed_forward(rows, counts, fc1, fc2)
        return self._grouped(rows, counts)

    def _grouped(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        # grouped_mm knows no autocast and no bias.
        device = rows.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype
        ends = counts.cumsum(0).to(torch.int32)

        def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            spread = torch.repeat_interleave(bias.to(dtype), counts, dim=0, output_size=len(inputs))
            aligned = _aligned(inputs, 1), _aligned(weight.to(dtype), 2)
            return F.grouped_mm(*aligned, offs=ends)[:, : spread.shape[1]] + spread

        activation = quick_gelu if self.hidden_act == "quick_gelu" else F.gelu
        hidden = activation(linear(rows.to(dtype), self.fc1_weight, self.fc1_bias))
        return linear(hidden, self.fc2_weight, self.fc2_bias)


def _aligned(values: torch.Tensor, dimensions: int) -> torch.Tensor:
    """With zeros up to the next 16 bytes in the last dimensions, which grouped_mm asks for."""
    step = 16 // values.element_size()
    missing = [(0, -side % step) for side in reversed(values.shape[-dimensions:])]
    ends = [end for pair in missing for end in pair]
    return F.pad(values, ends) if any(ends) else values


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x), the activation of the official configurations, by way of the fused SiLU."""
    return F.silu(1.702 * x) * (1 / 1.702)
