"""A picture as a tensor: its range, its shape, which decoder it goes through, and bytes that are no picture."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from eve_core.data import transforms
from eve_core.data.pictures import decode
from eve_core.data.transforms import decode_prepared, load_picture, normalize, resize, stack, to_pixels
from eve_core.errors import UserError


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3) % 256
    return Image.fromarray(values.astype(np.uint8))


def photograph(width: int = 61, height: int = 47) -> Image.Image:
    """Smooth colours with an edge, different in every channel."""
    y, x = np.mgrid[:height, :width]
    channels = [128 + 90 * np.sin(x / 9), 128 + 90 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 5)]
    pixels = np.stack(channels, -1).astype(np.uint8)
    pixels[height // 2 :, width // 2 :] //= 3
    return Image.fromarray(pixels)


def rotated(orientation: int) -> dict[str, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def png_of_16_bits(width: int = 9, height: int = 8) -> bytes:
    """RGB, which Pillow cannot write."""
    rows = np.linspace(0, 65535, width * height * 3).astype(">u2").reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


PLAIN = {
    "jpeg": encoded(photograph(), "JPEG", quality=90),
    "jpeg, all colours": encoded(photograph(), "JPEG", quality=95, subsampling=0),
    "progressive jpeg": encoded(photograph(), "JPEG", progressive=True),
    "grey jpeg": encoded(photograph().convert("L"), "JPEG"),
    "png": encoded(photograph()),
    "grey png": encoded(photograph().convert("L")),
    **{f"jpeg, orientation {n}": encoded(photograph(), "JPEG", **rotated(n)) for n in range(1, 9)},
    **{f"png, orientation {n}": encoded(photograph(), "PNG", **rotated(n)) for n in (3, 6)},
}
OTHER = {
    "black and white png": encoded(photograph().convert("1")),
    "CMYK jpeg": encoded(photograph().convert("CMYK"), "JPEG"),
    "transparent png": encoded(photograph().convert("RGBA")),
    "png of 16 bits": png_of_16_bits(),
    "grey png of 16 bits": encoded(Image.fromarray(np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32))),
    "palette with transparency": encoded(photograph().convert("P"), "PNG", transparency=3),
    "gif": encoded(photograph().convert("P"), "GIF"),
    "animation": encoded(photograph(), "GIF", save_all=True, append_images=[Image.new("RGB", (61, 47))]),
    "bmp": encoded(photograph(), "BMP"),
    "tiff": encoded(photograph(), "TIFF"),
    "webp": encoded(photograph(), "WEBP"),
}


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


@pytest.mark.parametrize("data", [*PLAIN.values(), *OTHER.values()], ids=[*PLAIN, *OTHER])
def test_either_decoder_gives_the_same(data):
    ours, pillows = decode_prepared(data, "it"), torch.from_numpy(np.array(decode(data))).permute(2, 0, 1)
    assert ours.dtype == torch.uint8
    assert ours.shape == pillows.shape
    assert (ours.int() - pillows.int()).abs().max() <= 2


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_torchvision_decodes_what_is_plain_and_pillow_the_rest(name, monkeypatch):
    calls = []
    monkeypatch.setattr("eve_core.data.pictures.decode", lambda data: calls.append(data) or decode(data))
    decode_prepared({**PLAIN, **OTHER}[name], "it")
    assert len(calls) == (name in OTHER)


def test_decoding_says_nothing(recwarn):
    transforms._expect_read_only_memory.cache_clear()
    decode_prepared(PLAIN["jpeg"], "it")
    assert [str(warning.message) for warning in recwarn if "writable" in str(warning.message)] == []


def test_resizing_is_pillows_within_a_level():
    picture = photograph(130, 90)
    ours = resize(decode_prepared(encoded(picture), "it"), 32)
    pillows = np.array(picture.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert ours.shape == (3, 32, 32)
    assert abs(ours.permute(1, 2, 0).numpy().astype(int) - pillows).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_and_shape_becomes_a_square_of_three_channels(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = load_picture(encoded(gradient(20, 9).convert(mode), kind), 12)
    assert pixels.shape == (3, 12, 12)
    assert float(pixels.min()) >= -1
    assert float(pixels.max()) <= 1


def test_pictures_are_stacked_in_order_and_normalised_together():
    pictures = [resize(decode_prepared(encoded(photograph(40 + n, 30)), "it"), 16) for n in range(3)]
    assert torch.equal(stack(pictures), torch.stack(pictures))
    pairs = [stack(pictures[:2]), stack(pictures[1:])]
    assert torch.equal(stack(pairs), torch.stack(pairs))
    assert torch.equal(normalize(stack(pictures))[1], normalize(pictures[1]))
    assert torch.equal(to_pixels(normalize(stack(pictures))), torch.stack(pictures))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>no picture</html>",
        encoded(gradient(40, 40))[:200],
        PLAIN["jpeg"][:400],
        b"\xff\xd8\xff",
        encoded(Image.new("L", (20_000, 20_000))),
    ],
    ids=["empty", "page", "cut png", "cut jpeg", "no jpeg", "bomb"],
)
def test_what_is_no_picture_is_refused_by_name(data):
    if len(data) < 10_000:  # torchvision would take the bomb's 400 MB
        with pytest.raises(UserError, match=r"coco/12 is not a readable picture.*JPEG or PNG"):
            decode_prepared(data, "coco/12")
    with pytest.raises(UserError, match=r"coco/12 is not a readable picture.*JPEG or PNG"):
        load_picture(data, 16, "coco/12")
