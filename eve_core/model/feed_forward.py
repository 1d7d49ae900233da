"""Feed-forward networks: one for all tokens, or one a modality (the hard router)."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig
from eve_core.model.fused import feed_forward
from eve_core.model.sequence import TokenLayout


class FeedForward(nn.Module):
    """D -> F -> D, with QuickGELU (the official configurations) or GELU in between."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)
        self.hidden_act = hidden_act

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., D)."""
        if self.hidden_act == "quick_gelu":
            return feed_forward(hidden, (self.fc1.weight, self.fc1.bias), (self.fc2.weight, self.fc2.bias))
        return self.fc2(F.gelu(self.fc1(hidden)))


class SharedFeedForward(nn.Module):
    """One LayerNorm and one feed-forward network for all tokens (the paper's ablation of the routers)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)

    def forward(self, hidden: torch.Tensor, layout: TokenLayout) -> tuple[torch.Tensor, None]:
        """(B, N, D) -> (B, N, D), without routing."""
        return self.feed_forward(self.norm(hidden)), None


class HardRouter(nn.Module):
    """Vision tokens go to the V-FFN, text tokens to the L-FFN, each behind its own LayerNorm.

    Vision tokens come first in the sequence, so that both are contiguous spans and need no dispatch.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.norms = nn.ModuleDict(
            {
                name: nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
                for name in (("vision", "text") if config.modality_norms else ("both",))
            }
        )
        self.vision = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.text = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)

    def forward(self, hidden: torch.Tensor, layout: TokenLayout) -> tuple[torch.Tensor, None]:
        """Feed each span forward.

        Args:
            hidden: (B, N, D).
            layout: its tokens.

        Returns:
            (B, N, D), without routing.
        """
        spans = {"vision": hidden[:, : layout.num_vision], "text": hidden[:, layout.num_vision :]}
        branches = []
        for modality, span in spans.items():
            if span.shape[1]:
                norm = self.norms[modality if modality in self.norms else "both"]
                branches.append(getattr(self, modality)(norm(span)))
        return branches[0] if len(branches) == 1 else torch.cat(branches, dim=1), None
