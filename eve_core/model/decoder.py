"""The pixel decoder of masked image modelling: a few narrow blocks over visible and masked patches."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.attention import SelfAttention
from eve_core.model.configuration import EveConfig
from eve_core.model.embeddings import interpolate_positions
from eve_core.model.feed_forward import FeedForward


class DecoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = SelfAttention(width, config.decoder_num_attention_heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(width, 4 * width, config.hidden_act)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, 1 + P, decoder_hidden_size) -> the same."""
        hidden = hidden + self.attention(self.attention_norm(hidden))
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))


class PixelDecoder(nn.Module):
    """Predicts the pixels of the masked patches from the visible ones (paper, masked image modelling)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.embedding = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        self.position_embeddings = nn.Parameter(torch.empty(1 + config.num_patches, width))
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_num_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.prediction = nn.Linear(width, config.patch_dim)

    def forward(
        self, vision: torch.Tensor, visible: torch.Tensor, masked: torch.Tensor, grid: tuple[int, int]
    ) -> torch.Tensor:
        """Predict.

        Args:
            vision: (B, 1 + P', D) encoded class token and visible patches.
            visible: (B, P') indices of the visible patches.
            masked: (B, M) indices of the masked patches.
            grid: rows and columns of patches.

        Returns:
            (B, M, patch_dim).
        """
        tokens = self.embedding(vision)
        mask_tokens = self.mask_token.to(tokens.dtype).expand(*masked.shape, -1)
        positions = interpolate_positions(self.position_embeddings, *grid).to(tokens.dtype)
        class_position = positions[:1].expand(len(vision), 1, -1)
        # Not by indexing: threads would add up the gradients of a position in the order in which they come.
        patch_positions = F.embedding(torch.cat([visible, masked], dim=1), positions[1:])
        hidden = torch.cat([tokens, mask_tokens], dim=1) + torch.cat([class_position, patch_positions], dim=1)
        for block in self.blocks:
            hidden = block(hidden)
        return self.prediction(self.norm(hidden[:, tokens.shape[1] :]))


def patchify(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, P, patch_size * patch_size * C), patches row by row, channels last within a patch."""
    batch, channels, height, width = pixel_values.shape
    grid = pixel_values.view(batch, channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch_size * patch_size * channels)


def unpatchify(patches: torch.Tensor, patch_size: int, channels: int = 3) -> torch.Tensor:
    """The inverse of `patchify` for square pictures: (B, P, patch_size * patch_size * C) -> (B, C, H, W)."""
    batch, number, _ = patches.shape
    side = round(number**0.5)
    grid = patches.view(batch, side, side, patch_size, patch_size, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, side * patch_size, side * patch_size)
