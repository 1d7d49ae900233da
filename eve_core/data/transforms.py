"""Pictures as tensors: bytes -> uint8 pixels -> a square of the model's size -> float32 between -1 and 1."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from eve_core.errors import UserError

if TYPE_CHECKING:
    import torch


def load_picture(data: bytes, size: int, name: str = "the picture") -> "torch.Tensor":
    """Decode anybody's picture, make it a square RGB of `size` pixels and normalise it.

    Args:
        data: the file's bytes in any format that `eve_core.data.pictures.decode` takes.
        size: side in pixels; the whole picture is resized bicubically, its aspect ratio not kept (official evaluation).
        name: what the error calls it.

    Returns:
        (3, size, size) float32 in [-1, 1].

    Raises:
        UserError: the bytes are no picture.
    """
    return normalize(resize(_decode_any(data, name), size))


def decode_prepared(data: bytes, name: str) -> "torch.Tensor":
    """Decode a picture of a prepared data set as RGB, upright.

    Plain JPEG and PNG files are decoded by torchvision; everything else, and what it fails at, by Pillow. torchvision
    is faster, but takes as much memory as a header claims to need: preparation has proved these pictures.

    Args:
        data: the file's bytes.
        name: what the error calls it.

    Returns:
        (3, H, W) uint8.

    Raises:
        UserError: the bytes are no picture.
    """
    pixels = _decode_plain(data)
    return _decode_any(data, name) if pixels is None else pixels


def _decode_any(data: bytes, name: str) -> "torch.Tensor":
    import numpy as np
    import torch

    from eve_core.data.pictures import BadPicture, decode

    try:
        return torch.from_numpy(np.array(decode(data))).permute(2, 0, 1)
    except BadPicture as error:
        raise UserError(f"{name} is not a readable picture ({error}); give JPEG or PNG bytes") from None


def _decode_plain(data: bytes) -> "torch.Tensor | None":
    """A JPEG or PNG, grey or RGB, of eight bits a channel; None for anything else, and for a broken file."""
    import torch
    from torchvision.io import decode_image

    # The header's bit depth and colour type: of a palette's picture, torchvision would return the indices.
    is_plain_png = data.startswith(b"\x89PNG") and data[24:26] in (b"\x08\x00", b"\x08\x02")
    if not is_plain_png and not data.startswith(b"\xff\xd8\xff"):
        return None
    _expect_read_only_memory()
    try:
        pixels = decode_image(torch.frombuffer(data, dtype=torch.uint8), apply_exif_orientation=True)
    except RuntimeError:
        return None
    if pixels.shape[0] == 1:
        return pixels.expand(3, -1, -1)
    return pixels if pixels.shape[0] == 3 else None  # CMYK has four


@cache
def _expect_read_only_memory() -> None:
    """PyTorch warns, once a process, of memory that one must not write to; a decoder only reads."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.frombuffer(b" ", dtype=torch.uint8)


def resize(pixels: "torch.Tensor", size: int) -> "torch.Tensor":
    """(3, H, W) -> (3, size, size), uint8, bicubic with antialiasing, as Pillow does within one level.

    PyTorch does this several times as fast where a pixel's channels lie together in memory, so they do in the result.
    """
    from torch.nn.functional import interpolate

    if pixels.shape[1:] == (size, size):
        return pixels
    batch = pixels.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
    return interpolate(batch, (size, size), mode="bicubic", antialias=True)[0]


def stack(pictures: "Sequence[torch.Tensor]") -> "torch.Tensor":
    """Pictures of one shape, (..., 3, S, S) each -> (len(pictures), ..., 3, S, S), laid out in memory as they are."""
    import torch

    return torch.stack([picture.movedim(-3, -1) for picture in pictures]).movedim(-1, -3)


def normalize(pixels: "torch.Tensor") -> "torch.Tensor":
    """uint8 -> float32 of the same shape in [-1, 1]: mean and standard deviation are 0.5."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_pixels(normalized: "torch.Tensor") -> "torch.Tensor":
    """The inverse of the normalisation: (..., 3, S, S) in [-1, 1] -> uint8 of the same shape."""
    import torch

    return normalized.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
