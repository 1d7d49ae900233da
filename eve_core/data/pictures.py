"""Reading a picture and proving that it is one: every picture is decoded once before it is stored."""

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from eve_core.data.locations import Location, read_bytes
from eve_core.data.perceptual_hash import perceptual_hash

# Pillow would also start other programs for some formats (EPS); the public sets hold none of those.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
_MAX_PIXELS = 100_000_000
_MIN_SIDE = 8
_JPEG_QUALITY = 92
_ENOUGH_TO_HASH = (128, 128)
# What Pillow's decoders raise on broken files, each in its own way.
_DECODERS_RAISE = (
    OSError,
    ValueError,
    SyntaxError,
    struct.error,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    MemoryError,
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPicture(ValueError):
    """Bytes that are no usable picture; the message says why."""


@dataclass(frozen=True)
class Picture:
    """A picture as stored."""

    width: int
    """Pixels, upright."""
    height: int
    format: str
    """Pillow's name of the stored format."""
    mode: str
    """Pillow's name of the original mode."""
    sha256: str
    """Of the original file."""
    phash: bytes
    bytes: bytes
    """The original file, or the picture re-encoded."""

    def row(self, image_id: str, file_name: str, coco_id: int | None) -> dict[str, Any]:
        """Its row of the table of pictures."""
        return {"image_id": image_id, "file_name": file_name, "coco_id": coco_id, **vars(self)}


def read_picture(location: Location, short_side: int | None = None) -> Picture:
    """Read and fully decode a picture.

    Args:
        location: where its bytes are.
        short_side: a larger picture is stored as a JPEG whose shorter side has that many pixels; None stores the
            original bytes.

    Raises:
        BadPicture: the bytes are no picture, are cut off, or it is too large or too small for one.
        OSError: the bytes cannot be read.
    """
    data = read_bytes(location)
    image = _identify(data)
    width, height = image.size
    smaller = short_side is not None and min(width, height) > short_side
    mode = image.mode
    if not smaller:
        # Reads the whole file all the same, and saves most of the arithmetic; only JPEG knows how.
        image.draft("L", _ENOUGH_TO_HASH)
    _load(image, data)
    if _orientation(image) > 4:
        width, height = height, width
    upright = _upright(image)
    stored, stored_format = data, image.format or ""
    if smaller and short_side is not None:
        scale = short_side / min(width, height)
        width, height = round(width * scale), round(height * scale)
        buffer = io.BytesIO()
        reduced = upright.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        reduced.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        stored, stored_format = buffer.getvalue(), "JPEG"
    return Picture(
        width=width,
        height=height,
        format=stored_format,
        mode=mode,
        sha256=hashlib.sha256(data).hexdigest(),
        phash=perceptual_hash(upright),
        bytes=stored,
    )


def decode(data: bytes) -> Image.Image:
    """Bytes of a picture -> RGB, upright. Transparency is ignored, of an animation the first frame is taken.

    Raises:
        BadPicture: see `read_picture`.
    """
    image = _identify(data)
    _load(image, data)
    upright = _upright(image)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _identify(data: bytes) -> ImageFile.ImageFile:
    """Opened, and not decoded yet."""
    if not data:
        raise BadPicture("the file is empty")
    if data.lstrip()[:1] == b"<":
        raise BadPicture("it is an HTML or XML page, not a picture")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise BadPicture("it is not a picture in any known format") from None
    except Image.DecompressionBombError:
        raise BadPicture("it claims to have far more pixels than a photograph has") from None
    except _DECODERS_RAISE as error:
        raise BadPicture(str(error) or type(error).__name__) from None
    if image.width * image.height > _MAX_PIXELS:
        raise BadPicture(f"it claims {image.width} x {image.height} pixels, far more than a photograph has")
    if min(image.size) < _MIN_SIDE:
        raise BadPicture(f"it has only {image.width} x {image.height} pixels")
    return image


def _load(image: ImageFile.ImageFile, data: bytes) -> None:
    """Decode it whole. What is damaged in its middle is found only where the format has checksums, as PNG has."""
    pixels = image.fp.tell() if image.fp is not None else 0  # of a JPEG, behind its header and the thumbnail in there
    try:
        image.load()
    except _DECODERS_RAISE as error:
        raise BadPicture(str(error) or type(error).__name__) from None
    # Zeros, as in a file that a download set aside and never filled, are to Pillow a grey JPEG.
    if image.format == "JPEG" and data.find(b"\xff\xd9", pixels) < 0:
        raise BadPicture("it has no end, as in a download that was broken off")


def _upright(image: Image.Image) -> Image.Image:
    """With 8 bits a channel, turned as its EXIF orientation says."""
    orientation = _orientation(image)
    if image.mode.startswith("I"):
        # Pillow cuts 16 bits off at 255 instead of scaling them.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadPicture("its pixels have more than 16 bits")
        image = Image.fromarray((values // 257).astype(np.uint8))
    elif image.mode == "F":
        raise BadPicture("its pixels are floating-point numbers, whose white is unknown")
    elif image.mode == "LAB":
        raise BadPicture("its colours are L*a*b*, which Pillow cannot turn to RGB")
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF counts them; from 5 on, width and height change places."""
    try:
        exif = Image.Exif()  # not image.getexif(), which asks XMP too, as torchvision in `transforms` does not
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except _DECODERS_RAISE:
        return 1  # its EXIF data is broken, its pixels are not
    return orientation if orientation in _UPRIGHT else 1
