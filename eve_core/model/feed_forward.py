"""Feed-forward networks, and the hard router that gives each modality its own."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x), the activation of the official configurations, by way of the fused SiLU."""
    return F.silu(1.702 * x) * (1 / 1.702)


class FeedForward(nn.Module):
    """D -> F -> D."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(quick_gelu(self.fc1(hidden)))


class HardRouter(nn.Module):
    """Vision tokens go to the V-FFN, text tokens to the L-FFN, each behind its own LayerNorm.

    Vision tokens come first in the sequence, so that both are contiguous spans and need no dispatch.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.vision_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.vision = FeedForward(config.hidden_size, config.intermediate_size)
        self.text_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.text = FeedForward(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: torch.Tensor, num_vision: int) -> torch.Tensor:
        """Feed each span forward.

        Args:
            hidden: (B, N, D), of which the first `num_vision` tokens are vision.
            num_vision: V; 0 for text alone, N for a picture alone.

        Returns:
            (B, N, D).
        """
        spans = []
        if num_vision > 0:
            spans.append(self.vision(self.vision_norm(hidden[:, :num_vision])))
        if num_vision < hidden.shape[1]:
            spans.append(self.text(self.text_norm(hidden[:, num_vision:])))
        return spans[0] if len(spans) == 1 else torch.cat(spans, dim=1)
