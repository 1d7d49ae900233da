"""Pictures as tensors: bytes -> (3, S, S) float32 between -1 and 1 (mean and standard deviation 0.5)."""

import io
from typing import TYPE_CHECKING

from eve_core.errors import UserError

if TYPE_CHECKING:
    import torch


def load_picture(data: bytes, size: int, name: str = "the picture") -> "torch.Tensor":
    """Decode a picture, make it a square RGB of `size` pixels and normalise it.

    Args:
        data: the file's bytes in any format that Pillow reads.
        size: side in pixels; the whole picture is resized bicubically, its aspect ratio not kept (official evaluation).
        name: what the error calls it.

    Returns:
        (3, size, size) float32 in [-1, 1].

    Raises:
        UserError: the bytes are no picture.
    """
    import numpy as np
    import torch
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} is not a readable picture ({error}); give JPEG or PNG bytes") from None
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return pixels.float().div_(127.5).sub_(1.0)


def to_pixels(normalized: "torch.Tensor") -> "torch.Tensor":
    """The inverse of the normalisation: (..., 3, S, S) in [-1, 1] -> uint8 of the same shape."""
    import torch

    return normalized.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
