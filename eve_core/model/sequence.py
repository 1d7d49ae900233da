"""Which tokens of a sequence are vision, text and padding."""

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of a batch: the first `num_vision` of each sample are vision, the rest text, padded at the end."""

    num_vision: int
    """V; 0 for text alone, N for a picture alone."""
    real: torch.Tensor
    """(B, N) bool, False for padding."""
    padded: bool
    """False when every token is real."""

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, N) bool for attention; None when nothing is padded."""
        return self.real if self.padded else None

    @cached_property
    def places(self) -> torch.Tensor | None:
        """(T,) the real tokens' rows in the flattened batch; None when nothing is padded."""
        return self.real.reshape(-1).nonzero().squeeze(-1) if self.padded else None

    @cached_property
    def is_text(self) -> torch.Tensor:
        """(B * N,) bool, the modality of every token."""
        batch, length = self.real.shape
        return (torch.arange(length, device=self.real.device) >= self.num_vision).repeat(batch)
