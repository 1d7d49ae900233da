"""What a model refuses, and the sentences it says so with.

Shapes are checked at once. What is wrong with values is returned as `Doubt`s, for `refuse` to read all of them at one
synchronisation with the device; while the model is being compiled nobody reads them.
"""

import torch

from eve_core.model.configuration import EveConfig

Doubt = tuple[torch.Tensor, str]
"""A scalar that is true when something is wrong, and the sentence for it."""


def check_pictures(pixel_values: torch.Tensor, config: EveConfig) -> list[Doubt]:
    """Pictures are (B, C, H, W) with sides that are multiples of the patch size, and finite.

    Raises:
        ValueError: naming pixel_values, its shape and what is allowed.
    """
    shape, size = tuple(pixel_values.shape), config.patch_size
    wanted = f"(batch, {config.num_channels}, height, width) with sides that are multiples of the patch size {size}"
    fits = len(shape) == 4 and shape[1] == config.num_channels
    if not fits or shape[0] == 0 or any(side < size or side % size for side in shape[2:]):
        raise ValueError(f"pixel_values has shape {shape}; this model takes {wanted}")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values of shape {shape} are {pixel_values.dtype}; this model takes normalized floating-point pixels"
        )
    return [(~torch.isfinite(pixel_values).all(), f"pixel_values of shape {shape} holds NaN or infinite values")]


def check_texts(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, config: EveConfig) -> list[Doubt]:
    """Texts are (B, L), not too long, with ids of the vocabulary and a token at least, and padded at the end.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(input_ids.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"input_ids has shape {shape}; this model takes (batch, length)")
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"input_ids of shape {shape} are {input_ids.dtype}; this model takes int64 or int32")
    if shape[1] > config.max_text_length:
        raise ValueError(f"input_ids has shape {shape}; this model takes texts of at most {config.max_text_length}")
    beyond = (input_ids < 0) | (input_ids >= config.vocab_size)
    allowed = f"0 to {config.vocab_size - 1}"
    doubts = [(beyond.any(), f"input_ids of shape {shape} holds ids outside the vocabulary, {allowed}")]
    if attention_mask is not None:
        if attention_mask.shape != input_ids.shape:
            raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}; give that of input_ids, {shape}")
        real = attention_mask.bool()
        sentence = f"attention_mask of shape {shape} has rows without a token; every text needs at least one"
        doubts.append(((~real.any(1)).any(), sentence))
        # Heads read the first token. So does a mask of 0 and -inf begin, which says the contrary.
        sentence = (
            f"attention_mask of shape {shape} starts with padding (0); give 1 for tokens, and pad texts at the end"
        )
        doubts.append(((~real[:, 0]).any(), sentence))
    return doubts


def check_patches(name: str, indices: torch.Tensor, batch: int, num_patches: int) -> list[Doubt]:
    """Indices of patches are (B, M) and inside the picture.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(indices.shape)
    if len(shape) != 2 or shape[0] != batch or not 0 < shape[1] <= num_patches:
        raise ValueError(f"{name} has shape {shape}; give ({batch}, 1 to {num_patches})")
    if indices.dtype != torch.int64:
        raise ValueError(f"{name} of shape {shape} are {indices.dtype}; give int64")
    outside = (indices < 0) | (indices >= num_patches)
    allowed = f"0 to {num_patches - 1}"
    return [(outside.any(), f"{name} of shape {shape} holds indices outside the picture's patches, {allowed}")]


def check_token_mask(token_mask: torch.Tensor, attention_mask: torch.Tensor) -> list[Doubt]:
    """A mask covers something of every text, and no padding.

    Raises:
        ValueError: naming the argument, its shape and what is allowed.
    """
    shape = tuple(token_mask.shape)
    if token_mask.shape != attention_mask.shape:
        raise ValueError(f"token_mask has shape {shape}; give that of attention_mask, {tuple(attention_mask.shape)}")
    if token_mask.dtype != torch.bool:
        raise ValueError(f"token_mask of shape {shape} is {token_mask.dtype}; give bool")
    bare = ~token_mask.any(1)
    return [
        (bare.any(), f"token_mask of shape {shape} has rows without a masked token; every text needs one"),
        ((token_mask & ~attention_mask.bool()).any(), f"token_mask of shape {shape} covers padding"),
    ]


def check_image_ids(image_ids: torch.Tensor, batch: int) -> None:
    """Every pair says which picture it shows.

    Raises:
        ValueError: naming image_ids, its shape and what is allowed.
    """
    if image_ids.shape != (batch,):
        raise ValueError(f"image_ids has shape {tuple(image_ids.shape)}; give one a pair, ({batch},)")


def refuse(doubts: list[Doubt]) -> None:
    """Raise the first sentence that is true.

    Raises:
        ValueError: that sentence.
    """
    if torch.compiler.is_compiling():
        return
    for wrong, (_, sentence) in zip(torch.stack([doubt for doubt, _ in doubts]).tolist(), doubts, strict=True):
        if wrong:
            raise ValueError(sentence)
