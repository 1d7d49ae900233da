"""What a model refuses, and the sentences it says so with.

Shapes are always checked. Values are, too, at one synchronisation a call; not while the model is being compiled.
"""

import torch

from eve_core.model.configuration import EveConfig


def check_pictures(pixel_values: torch.Tensor, config: EveConfig) -> None:
    """Refuse pictures of another shape than (B, C, H, W) with sides that are multiples of the patch size, and NaN.

    Raises:
        ValueError: naming pixel_values, its shape and what is allowed.
    """
    shape, size = tuple(pixel_values.shape), config.patch_size
    wanted = f"(batch, {config.num_channels}, height, width) with sides that are multiples of the patch size {size}"
    if (
        len(shape) != 4
        or shape[1] != config.num_channels
        or min(shape[2:]) < size
        or shape[2] % size
        or shape[3] % size
    ):
        raise ValueError(f"pixel_values has shape {shape}; this model takes {wanted}")
    _refuse(~torch.isfinite(pixel_values).all(), f"pixel_values of shape {shape} holds NaN or infinite values")


def check_texts(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, config: EveConfig) -> None:
    """Refuse texts that are too long, ids beyond the vocabulary, and texts of padding alone.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(input_ids.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise ValueError(f"input_ids has shape {shape}; this model takes (batch, length)")
    if shape[1] > config.max_text_length:
        raise ValueError(
            f"input_ids has shape {shape}; this model takes at most {config.max_text_length} tokens a text"
        )
    beyond = (input_ids < 0) | (input_ids >= config.vocab_size)
    _refuse(beyond.any(), f"input_ids of shape {shape} holds ids outside the vocabulary, 0 to {config.vocab_size - 1}")
    if attention_mask is not None:
        if attention_mask.shape != input_ids.shape:
            raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}; give that of input_ids, {shape}")
        empty = ~attention_mask.bool().any(1)
        _refuse(empty.any(), f"attention_mask of shape {shape} has rows without a token; every text needs at least one")


def check_patches(name: str, indices: torch.Tensor, batch: int, num_patches: int) -> None:
    """Refuse patch indices of another shape than (B, M), or outside the picture.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(indices.shape)
    if len(shape) != 2 or shape[0] != batch or not 0 < shape[1] <= num_patches:
        raise ValueError(f"{name} has shape {shape}; give ({batch}, 1 to {num_patches})")
    _refuse(
        ((indices < 0) | (indices >= num_patches)).any(),
        f"{name} of shape {shape} holds indices outside the picture's patches, 0 to {num_patches - 1}",
    )


def check_token_mask(token_mask: torch.Tensor, attention_mask: torch.Tensor) -> None:
    """Refuse a mask that covers nothing of a text, or covers padding.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(token_mask.shape)
    if token_mask.shape != attention_mask.shape:
        raise ValueError(f"token_mask has shape {shape}; give that of attention_mask, {tuple(attention_mask.shape)}")
    _refuse(
        (~token_mask.any(1)).any(), f"token_mask of shape {shape} has rows without a masked token; every text needs one"
    )
    _refuse((token_mask & ~attention_mask.bool()).any(), f"token_mask of shape {shape} covers padding")


def _refuse(wrong: torch.Tensor, message: str) -> None:
    if not torch.compiler.is_compiling() and bool(wrong):
        raise ValueError(message)
