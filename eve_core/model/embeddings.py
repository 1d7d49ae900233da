"""Pictures and texts as token sequences (paper eq. 1 and 2)."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig


class VisionEmbeddings(nn.Module):
    """Patches -> linear projection, class token first, plus position and vision-type embeddings."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_projection = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.class_token = nn.Parameter(torch.empty(config.hidden_size))
        self.type_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.empty(1 + config.num_patches, config.hidden_size))
        if config.mask_tokens_in_encoder:
            self.mask_token = nn.Parameter(torch.empty(config.hidden_size))

    def forward(
        self,
        pixel_values: torch.Tensor,
        visible_patches: torch.Tensor | None = None,
        masked_patches: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed pictures.

        Args:
            pixel_values: (B, 3, H, W), both sides multiples of the patch size; positions are interpolated where they
                are not image_size.
            visible_patches: (B, P') indices of the patches to keep; a kept patch keeps its own position.
            masked_patches: (B, M) indices of the patches to replace by the mask token, which keep their positions.

        Returns:
            (B, V, D) with V = 1 + P or 1 + P'.
        """
        size = self.config.patch_size
        height, width = pixel_values.shape[-2] // size, pixel_values.shape[-1] // size
        positions = interpolate_positions(self.position_embeddings, height, width)
        positions = positions + self.type_embedding
        patches = self._project(pixel_values, height, width)
        if masked_patches is not None:
            mask = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
            mask = mask.scatter(1, masked_patches, True)
            patches = torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)
        patches = patches + positions[1:]
        if visible_patches is not None:
            patches = patches.gather(1, visible_patches.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        class_token = (self.class_token + positions[0]).expand(patches.shape[0], 1, -1)
        return torch.cat([class_token.to(patches.dtype), patches], dim=1)

    def _project(self, pixel_values: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """(B, 3, H, W) -> (B, P, D): the convolution whose stride is its kernel, as one matrix product."""
        batch, channels = pixel_values.shape[:2]
        size = self.config.patch_size
        grid = pixel_values.view(batch, channels, height, size, width, size).permute(0, 2, 4, 1, 3, 5)
        rows = grid.reshape(batch, height * width, channels * size * size)
        rows = rows.to(self.patch_projection.weight.dtype)
        return F.linear(rows, self.patch_projection.weight.flatten(1), self.patch_projection.bias)


def interpolate_positions(table: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A position table for a grid of another size.

    Args:
        table: (1 + S * S, D), the class token's row first.
        height: rows of patches.
        width: columns of patches.

    Returns:
        (1 + height * width, D); bicubic, corners not aligned, the class token's row kept (official code).
    """
    side = round((len(table) - 1) ** 0.5)
    if (side, side) == (height, width):
        return table
    grid = table[1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], grid.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)])


class TextEmbeddings(nn.Module):
    """Word embeddings -> LayerNorm -> dropout, plus position and text-type embeddings."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.embedding_norms else nn.Identity()
        )
        self.dropout = nn.Dropout(config.text_dropout)
        self.type_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.empty(config.max_text_length, config.hidden_size))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, L, D)."""
        words = self.dropout(self.norm(self.word_embeddings(input_ids)))
        return words + (self.position_embeddings[: input_ids.shape[1]] + self.type_embedding)
