"""E feed-forward networks with stacked weights, each applied to its own group of rows."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.feed_forward import quick_gelu


class Experts(nn.Module):
    """E networks D -> F -> D.

    The weights are stacked so that one grouped product serves all experts, and so that every expert has a gradient
    (zero when no token reached it), which data parallelism needs.
    """

    def __init__(self, num_experts: int, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.fc1_weight = nn.Parameter(torch.empty(num_experts, hidden_size, intermediate_size))
        self.fc1_bias = nn.Parameter(torch.empty(num_experts, intermediate_size))
        self.fc2_weight = nn.Parameter(torch.empty(num_experts, intermediate_size, hidden_size))
        self.fc2_bias = nn.Parameter(torch.empty(num_experts, hidden_size))

    def forward(self, rows: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
        """Apply to each row its expert.

        Args:
            rows: (R, D), sorted by expert.
            expert: (R,) int64, ascending.

        Returns:
            (R, D).
        """
        dtype = (
            torch.get_autocast_dtype(rows.device.type) if torch.is_autocast_enabled(rows.device.type) else rows.dtype
        )
        counts = torch.bincount(expert, minlength=self.fc1_bias.shape[0])
        ends = counts.cumsum(0).to(torch.int32)

        def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            spread = torch.repeat_interleave(bias.to(dtype), counts, dim=0, output_size=len(inputs))
            return F.grouped_mm(inputs, weight.to(dtype), offs=ends) + spread

        hidden = quick_gelu(linear(rows.to(dtype), self.fc1_weight, self.fc1_bias))
        return linear(hidden, self.fc2_weight, self.fc2_bias)
