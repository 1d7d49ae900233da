"""A fingerprint of how a picture looks: close for resized and re-encoded copies, far for other photographs.

Measured on 1,339 photographs of COCO, Flickr8k, NLVR2 and Visual Genome: how many bits differ, in the key and in all.

| copies of each | key, at most | all, 99 % | all, at most |
|---|---|---|---|
| grey; PNG | 0 | 0 | 0 |
| half the size; a quarter; half again as large, JPEG 75 | 3 | 6 | 10 |
| JPEG of quality 30, 50, 75, 90 | 4 | 8 | 16 |
| half the size, JPEG 50; shorter side 96 pixels, JPEG 30 | 4 | 12 | 18 |
| half the size without any filter | 6 | 20 | 26 |
| a quarter of the size, JPEG 30 | 5 | 24 | 62 |

Two different photographs of them differ in 31.5 bits of the key (standard deviation 4.1; at least 12 in 895,791 pairs)
and in 127.5 bits of all (8.3; at least 86). `KEY_DISTANCE` and `DISTANCE` lie between: no copy was missed, and no
photograph was taken for another. Copies that lost a fiftieth of their width and height are found as well. Mirror images
and larger crops count as other pictures: their captions may differ.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

KEY_DISTANCE = 7
"""In how many of the first 64 bits copies differ at most."""
DISTANCE = 64
"""In how many of all 256 bits copies differ at most."""

_SIDE = 64
_FREQUENCIES, _KEY_FREQUENCIES = 16, 8
_NOISE = 1.0
_UNIT = 2**12


def perceptual_hash(picture: Image.Image) -> bytes:
    """pHash: which of the 16 x 16 lowest frequencies of a picture in 64 x 64 greys are stronger than their median.

    A picture in which half of the frequencies hardly differ from the median (one colour, a plain ramp) shows too little
    to tell it from others. Its hash is zero, and hashes of zeros match nothing: only its bytes can be compared.

    Args:
        picture: decoded and upright, of any size.

    Returns:
        256 bits, the 8 x 8 lowest frequencies first: they are the key by which copies are looked up.
    """
    grey = picture if picture.mode == "L" else picture.convert("L")
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    cosines = _cosines()
    # Whole numbers that float64 holds exactly, so that every processor comes to the same bits.
    spectrum = (cosines @ np.asarray(small, dtype=np.float64) @ cosines.T)[_order()]
    above_median = spectrum - _median(spectrum)
    if _median(np.abs(above_median)) < _NOISE * _UNIT**2:
        return bytes(len(spectrum) // 8)
    return np.packbits(above_median > 0).tobytes()


def _median(values: np.ndarray) -> float:
    """Of an even number of them, as `np.median` has it in five times as long."""
    middle = len(values) // 2
    return np.sort(values)[middle - 1 : middle + 1].mean()


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """(16, 64): the lowest frequencies of the orthonormal DCT-II, in which rounding greys makes a noise of 0.3; in
    whole numbers of 1 / _UNIT.
    """
    frequency, place = np.ogrid[:_FREQUENCIES, :_SIDE]
    cosines = np.cos(np.pi / _SIDE * frequency * (place + 0.5)) * np.sqrt(2 / _SIDE)
    cosines[0] /= np.sqrt(2)
    return np.round(cosines * _UNIT)


@lru_cache(maxsize=1)
def _order() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the frequency of every bit."""
    rows, columns = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
    key_first = np.argsort(np.maximum(rows, columns) >= _KEY_FREQUENCIES, kind="stable")
    return rows[key_first], columns[key_first]
