"""The encoder: blocks with shared attention, hard routers below and soft routers on top."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from eve_core.model.attention import SelfAttention
from eve_core.model.configuration import EveConfig
from eve_core.model.feed_forward import HardRouter, SharedFeedForward
from eve_core.model.outputs import Routing
from eve_core.model.sequence import TokenLayout
from eve_core.model.soft_router import SoftRouter


class DropPath(nn.Module):
    """Stochastic depth: in training, leaves a branch out for a whole sample with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, N, D), kept samples scaled by 1 / (1 - rate)."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1 - self.rate)


_ROUTERS = {"hard": HardRouter, "soft": SoftRouter, "shared": SharedFeedForward}


class EncoderBlock(GradientCheckpointingLayer):
    """Pre-norm block: x + gamma_1 attention(norm(x)), then x + gamma_2 router(norm(x))."""

    def __init__(self, config: EveConfig, index: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config.hidden_size, config.num_attention_heads)
        self.gamma_1 = nn.Parameter(torch.empty(config.hidden_size))
        self.gamma_2 = nn.Parameter(torch.empty(config.hidden_size))
        self.router = _ROUTERS[config.ffn_types[index]](config)
        self.drop_path = DropPath(config.drop_path_rate * index / max(1, config.num_hidden_layers - 1))

    def forward(self, hidden: torch.Tensor, layout: TokenLayout) -> tuple[torch.Tensor, Routing | None]:
        """One block.

        Args:
            hidden: (B, N, D).
            layout: its tokens.

        Returns:
            (B, N, D), and the routing of a soft-router block.
        """
        attended = self.attention(self.attention_norm(hidden), layout.key_mask)
        hidden = hidden + self.drop_path(self.gamma_1 * attended)
        branch, routing = self.router(hidden, layout)
        return hidden + self.drop_path(self.gamma_2 * branch), routing
