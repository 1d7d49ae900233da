"""Reading a picture file and proving that it is one: every picture is decoded once before it is stored."""

import hashlib
import io
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

# Pillow would also start other programs for some formats (EPS); the public sets hold none of those.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


@dataclass(frozen=True)
class Picture:
    """A picture as stored: the original bytes and what they decode to."""

    width: int
    height: int
    format: str
    mode: str
    sha256: str
    bytes: bytes

    def row(self, image_id: str, file_name: str) -> dict[str, Any]:
        """Its row of the table of pictures."""
        return {"image_id": image_id, "file_name": file_name, **asdict(self)}


@dataclass(frozen=True)
class Unreadable:
    """Why a file is no picture."""

    reason: str


def read_picture(path: Path) -> Picture | Unreadable:
    """Read and fully decode a picture file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Unreadable(error.strerror or type(error).__name__)
    if not data:
        return Unreadable("the file is empty")
    if data.lstrip()[:1] == b"<":
        return Unreadable("it is an HTML or XML page, not a picture")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return Picture(
                width=image.width,
                height=image.height,
                format=image.format or "",
                mode=image.mode,
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=data,
            )
    except UnidentifiedImageError:
        return Unreadable("it is not a picture in any known format")
    except Image.DecompressionBombError:
        return Unreadable("it claims to have far more pixels than a photograph has")
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        MemoryError,
    ) as error:
        # What Pillow's decoders raise on broken files, each in its own way.
        return Unreadable(str(error) or type(error).__name__)
