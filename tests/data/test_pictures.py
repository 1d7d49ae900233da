"""A picture is decoded whole, upright and in 8-bit RGB, or refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from eve_core.data.pictures import BadPicture, decode, read_picture
from eve_core.data.transforms import decode_prepared


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(width: int = 40, height: int = 24) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 6, y * 10, (x + y) * 3], -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(kind):
    assert np.array_equal(np.asarray(decode(encoded(photograph(), kind))), np.asarray(photograph()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation):
    upright = photograph()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(decode(encoded(stored, "PNG", exif=exif))), np.asarray(upright))


def test_sixteen_bits_are_scaled_not_cut_off():
    values = (np.arange(40 * 24).reshape(24, 40) * 68).astype(np.uint16)
    decoded = np.asarray(decode(encoded(Image.fromarray(values), "PNG")))
    assert decoded.shape == (24, 40, 3)
    assert np.array_equal(decoded[..., 0], values // 257)


def test_other_modes_become_rgb():
    picture = photograph()
    cmyk = np.asarray(decode(encoded(picture.convert("CMYK"), "JPEG", quality=100, subsampling=0))).astype(int)
    assert np.abs(cmyk - np.asarray(picture)).mean() < 4
    palette = np.asarray(decode(encoded(picture.quantize(64), "PNG"))).astype(int)
    assert np.abs(palette - np.asarray(picture)).mean() < 12
    grey = np.asarray(decode(encoded(picture.convert("L"), "PNG")))
    assert (grey[..., 0] == grey[..., 1]).all()
    transparent = picture.convert("RGBA")
    transparent.putalpha(0)
    assert np.array_equal(np.asarray(decode(encoded(transparent, "PNG"))), np.asarray(picture))


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((5, 5)) == (255, 0, 0)


def huge_png() -> bytes:
    """A header that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n <!DOCTYPE html><html>404</html>", "HTML"),
        (b"no picture at all", "not a picture in any known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (encoded(photograph(300, 300), "JPEG", quality=95)[:-400], "truncated"),
        (encoded(photograph(300, 300), "JPEG", quality=95)[:3000] + bytes(200_000), "no end, as in a download"),
        (encoded(photograph(300, 300), "PNG")[:-400], "truncated|broken"),
        (encoded(photograph(1, 300), "PNG"), "only 1 x 300 pixels"),
        (huge_png(), "far more"),
        (encoded(Image.fromarray(np.ones((20, 20), np.float32)), "TIFF"), "white is unknown"),
        (encoded(Image.new("LAB", (20, 20)), "TIFF"), "cannot turn to RGB"),
    ],
)
def test_what_is_no_picture_says_why(data, reason):
    with pytest.raises(BadPicture, match=reason):
        decode(data)


def test_only_exif_turns_a_picture():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(photograph(), "JPEG", xmp=xmp)
    assert b"tiff:Orientation" in data
    assert decode(data).size == decode_prepared(data, "x").shape[:0:-1] == (40, 24)


def test_broken_exif_data_does_not_cost_the_picture():
    data = encoded(photograph(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert decode(data).size == (40, 24)


def test_a_picture_is_stored_as_it_is_or_smaller_on_request(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photograph(300, 200), "PNG"))
    whole, small, same = read_picture(path), read_picture(path, 100), read_picture(path, 200)
    assert whole.bytes == same.bytes == path.read_bytes()
    assert (whole.width, whole.height, whole.format, whole.mode) == (300, 200, "PNG", "RGB")
    assert (small.width, small.height, small.format) == (150, 100, "JPEG")
    assert decode(small.bytes).size == (150, 100)
    assert small.sha256 == whole.sha256
    assert small.phash == whole.phash


def test_a_turned_picture_is_stored_turned_when_it_is_encoded_anew(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(photograph(300, 200), "JPEG", exif=exif))
    whole, small = read_picture(path), read_picture(path, 100)
    assert (whole.width, whole.height) == (200, 300) == decode(whole.bytes).size
    assert (small.width, small.height) == (100, 150) == decode(small.bytes).size
