"""A fingerprint of how a picture looks: close for resized and re-encoded copies, far for different photographs."""

from functools import lru_cache

import numpy as np
from PIL import Image

KEY_BYTES = 8
KEY_DISTANCE = 8
DISTANCE = 40
_SIDE = 64
_FREQUENCIES = 16
_KEY_FREQUENCIES = 8
_NOISE = 1.0


def perceptual_hash(picture: Image.Image) -> bytes:
    """pHash of 256 bits: which of the 16 x 16 lowest frequencies of the 64 x 64 grey picture are above their median.

    Args:
        picture: decoded and upright; its aspect ratio does not count.

    Returns:
        32 bytes. The first 8 are the key, the 8 x 8 lowest frequencies; the others verify. All are zero for a picture
        without enough contrast to tell it from others: half of its frequencies or more are weaker than the rounding of
        grey levels. Hashes of zeros match nothing.
    """
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    cosines = _cosines()
    spectrum = (cosines @ np.asarray(small, dtype=np.float32) @ cosines.T)[_order()]
    deviation = spectrum - np.median(spectrum)
    if np.median(np.abs(deviation)) < _NOISE:
        return bytes(32)
    return np.packbits(deviation > 0).tobytes()


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """(16, 64): the lowest rows of the orthonormal DCT-II."""
    frequency, place = np.ogrid[:_FREQUENCIES, :_SIDE]
    cosines = np.cos(np.pi / _SIDE * frequency * (place + 0.5)) * np.sqrt(2 / _SIDE)
    cosines[0] /= np.sqrt(2)
    return cosines.astype(np.float32)


@lru_cache(maxsize=1)
def _order() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every frequency in the order of the bits: the 8 x 8 lowest first."""
    rows, columns = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
    first = np.argsort(np.maximum(rows, columns) >= _KEY_FREQUENCIES, kind="stable")
    return rows[first], columns[first]
