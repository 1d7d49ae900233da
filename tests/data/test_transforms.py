"""A picture as a tensor: its range, its shape, and bytes that are no picture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from eve_core.data.transforms import load_picture, to_pixels
from eve_core.errors import UserError


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3) % 256
    return Image.fromarray(values.astype(np.uint8))


def test_black_is_minus_one_and_white_is_one():
    picture = Image.new("RGB", (8, 8), "black")
    picture.paste("white", (4, 0, 8, 8))
    pixels = load_picture(encoded(picture), 8)
    assert pixels.dtype == torch.float32
    assert pixels[:, :, 0].eq(-1).all()
    assert pixels[:, :, 7].eq(1).all()


def test_a_picture_of_the_right_size_comes_back_pixel_for_pixel():
    picture = gradient(16, 16)
    pixels = to_pixels(load_picture(encoded(picture), 16))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.array(picture))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_and_shape_becomes_a_square_of_three_channels(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = load_picture(encoded(gradient(20, 9).convert(mode), kind), 12)
    assert pixels.shape == (3, 12, 12)
    assert float(pixels.min()) >= -1
    assert float(pixels.max()) <= 1


@pytest.mark.parametrize("data", [b"", b"<html>no picture</html>", encoded(gradient(40, 40))[:200]])
def test_what_is_no_picture_is_refused_by_name(data):
    with pytest.raises(UserError, match=r"coco/12 is not a readable picture.*JPEG or PNG"):
        load_picture(data, 16, "coco/12")
