"""Pictures and texts as token sequences (paper eq. 1 and 2)."""

import torch
from torch import nn

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

    def forward(self, pixel_values: torch.Tensor, visible_patches: torch.Tensor | None = None) -> torch.Tensor:
        """Embed pictures.

        Args:
            pixel_values: (B, 3, image_size, image_size).
            visible_patches: (B, P') indices of the patches to keep; a kept patch keeps its own position.

        Returns:
            (B, V, D) with V = 1 + P or 1 + P'.

        Raises:
            ValueError: pictures or indices of another shape.
        """
        size = self.config.image_size
        if pixel_values.dim() != 4 or pixel_values.shape[1:] != (self.config.num_channels, size, size):
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; this model takes "
                f"(batch, {self.config.num_channels}, {size}, {size})"
            )
        patches = self.patch_projection(pixel_values).flatten(2).transpose(1, 2) + self.position_embeddings[1:]
        if visible_patches is not None:
            if visible_patches.dim() != 2 or len(visible_patches) != len(patches):
                raise ValueError(
                    f"visible_patches has shape {tuple(visible_patches.shape)}; give ({len(patches)}, patches)"
                )
            patches = patches.gather(1, visible_patches.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        class_token = (self.class_token + self.position_embeddings[0]).expand(patches.shape[0], 1, -1)
        return torch.cat([class_token.to(patches.dtype), patches], dim=1) + self.type_embedding


class TextEmbeddings(nn.Module):
    """Word embeddings -> LayerNorm -> dropout, plus position and text-type embeddings."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.text_dropout)
        self.type_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.empty(config.max_text_length, config.hidden_size))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embed token ids.

        Args:
            input_ids: (B, L).

        Returns:
            (B, L, D).

        Raises:
            ValueError: texts of another shape, or longer than the position table.
        """
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids has shape {tuple(input_ids.shape)}; this model takes (batch, length)")
        length, longest = input_ids.shape[1], self.position_embeddings.shape[0]
        if length > longest:
            raise ValueError(f"input_ids has {length} tokens a text; this model takes at most {longest}")
        words = self.dropout(self.norm(self.word_embeddings(input_ids)))
        return words + self.position_embeddings[:length] + self.type_embedding
