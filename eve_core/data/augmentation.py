"""Random changes of training pictures: the paper's crop and flip, the official fine-tuning's RandAugment and jitter.

The operations are torchvision's. Their parameters are drawn here, distributed as in torchvision's transforms and in the
official code: those draw from global generators, and an example must depend on its own alone.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from eve_core.config import AugmentationConfig
from eve_core.data.transforms import resize

if TYPE_CHECKING:
    import torch

_RATIOS = (3 / 4, 4 / 3)  # least and most width of a crop, relative to its height
_FILL = 128.0  # of what a turned or shifted picture leaves bare


def draw_flip(config: AugmentationConfig, texts: Iterable[str], generator: np.random.Generator) -> bool:
    """Whether to mirror the pictures of an example.

    Args:
        config: whether pictures are mirrored at all.
        texts: what is said of the pictures. A mirrored one would make words of left and right wrong, also within others
            (leftmost); that "bright" counts as well is the official rule.
        generator: source of the draw.
    """
    said = " ".join(texts).lower()
    return config.flip and "left" not in said and "right" not in said and generator.random() < 0.5


def augment(
    pixels: "torch.Tensor", size: int, config: AugmentationConfig, *, flip: bool, generator: np.random.Generator
) -> "torch.Tensor":
    """A random view of a picture: crop, flip, RandAugment, colour jitter, in this order.

    Args:
        pixels: (3, H, W) uint8.
        size: S, side of the view.
        config: what is done.
        flip: see `draw_flip`; the pictures of one example are mirrored together.
        generator: source of every other draw.

    Returns:
        (3, S, S) uint8.
    """
    top, left, height, width = draw_crop(pixels.shape[1], pixels.shape[2], config.crop_scale, generator)
    pixels = resize(pixels[:, top : top + height, left : left + width], size)
    if flip:
        pixels = pixels.flip(-1)
    if config.rand_augment is not None:
        pixels = _rand_augment(pixels, *config.rand_augment, generator)
    if config.color_jitter:
        pixels = _jitter_colors(pixels, config.color_jitter, generator)
    return pixels


def draw_crop(
    height: int, width: int, scale: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random part of a picture, distributed as in torchvision's RandomResizedCrop.

    Args:
        height: of the picture in pixels.
        width: likewise.
        scale: least and most share of the area.
        generator: source of the draws.

    Returns:
        top, left, height and width of the part in pixels. Ten draws that all stick out of the picture leave its middle,
        as much of it as the ratios allow.
    """
    for _ in range(10):
        of_area, of_ratio, of_top, of_left = generator.random(4)
        area = height * width * (scale[0] + (scale[1] - scale[0]) * of_area)
        ratio = _RATIOS[0] * (_RATIOS[1] / _RATIOS[0]) ** of_ratio  # uniform in its logarithm
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            top, left = int(of_top * (height - part_height + 1)), int(of_left * (width - part_width + 1))
            return top, left, part_height, part_width
    part_width = min(width, round(height * _RATIOS[1]))
    part_height = min(height, round(width / _RATIOS[0]))
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def _rand_augment(
    pixels: "torch.Tensor", operations: int, strength: float, generator: np.random.Generator
) -> "torch.Tensor":
    """The official RandomAugment: so many operations are chosen, and each is done with probability one half."""
    for operation in generator.choice(_OPERATIONS, operations):
        done, sign = generator.random() < 0.5, generator.choice((-1, 1))
        if done:
            pixels = _operate(pixels, operation, strength / 10, sign)
    return pixels


_OPERATIONS = (
    "identity", "autocontrast", "equalize", "brightness", "sharpness",
    "shear_x", "shear_y", "shift_x", "shift_y", "turn",
)  # fmt: skip


def _operate(pixels: "torch.Tensor", operation: str, share: float, sign: int) -> "torch.Tensor":
    """One operation at a share of its full strength; those of a direction go either way."""
    from torchvision.transforms.v2 import functional

    match operation:
        case "autocontrast":
            return functional.autocontrast(pixels)
        case "equalize":
            return functional.equalize(pixels)
        case "brightness":
            return functional.adjust_brightness(pixels, 0.1 + 1.8 * share)
        case "sharpness":
            return functional.adjust_sharpness(pixels, 0.1 + 1.8 * share)
        case "shear_x":
            return _warp(pixels, shear=(sign * share * 0.3, 0))
        case "shear_y":
            return _warp(pixels, shear=(0, sign * share * 0.3))
        case "shift_x":
            return _warp(pixels, shift=(sign * share * 10, 0))  # pixels, whatever the picture's size
        case "shift_y":
            return _warp(pixels, shift=(0, sign * share * 10))
        case "turn":
            return _warp(pixels, degrees=sign * share * 30)
    return pixels


def _warp(
    pixels: "torch.Tensor",
    degrees: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> "torch.Tensor":
    """Turn about the middle, shift, or shear along x or y from the upper left corner; what becomes bare is grey."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    return functional.affine(
        pixels,
        angle=degrees,
        translate=[*shift],
        scale=1.0,
        shear=[math.degrees(math.atan(part)) for part in shear],
        interpolation=InterpolationMode.BILINEAR,
        fill=_FILL,
        center=[0.0, 0.0] if any(shear) else None,
    )


def _jitter_colors(pixels: "torch.Tensor", strength: float, generator: np.random.Generator) -> "torch.Tensor":
    """Brightness, contrast and saturation, in random order, each by a factor in 1 - strength ... 1 + strength."""
    from torchvision.transforms.v2 import functional

    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for number in generator.permutation(len(changes)):
        pixels = changes[number](pixels, generator.uniform(1 - strength, 1 + strength))
    return pixels
