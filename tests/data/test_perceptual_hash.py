"""Copies of a picture hash alike, other pictures do not, and pictures that say nothing have no hash."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eve_core.data.perceptual_hash import DISTANCE, KEY_DISTANCE, perceptual_hash


def photograph(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Blotches of all sizes in colour, whose strength falls with their fineness as in photographs."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), 128.0)
    for cells, strength in ((2, 40), (4, 35), (8, 25), (16, 18), (32, 12), (64, 8)):
        noise = Image.fromarray(rng.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8))
        pixels += (np.asarray(noise.resize(size, Image.Resampling.BICUBIC), dtype=float) - 128) * strength / 74
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(picture: Image.Image, image_format: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    with Image.open(buffer) as copy:
        copy.load()
        return copy


def scaled(picture: Image.Image, share: float) -> Image.Image:
    size = round(picture.width * share), round(picture.height * share)
    return picture.resize(size, Image.Resampling.LANCZOS)


COPIES = {
    "half": lambda picture: scaled(picture, 0.5),
    "quarter": lambda picture: scaled(picture, 0.25),
    "jpeg 30": lambda picture: encoded(picture, "JPEG", quality=30),
    "jpeg 90": lambda picture: encoded(picture, "JPEG", quality=90),
    "half, jpeg 60": lambda picture: encoded(scaled(picture, 0.5), "JPEG", quality=60),
    "png": lambda picture: encoded(picture, "PNG"),
    "gif": lambda picture: encoded(picture, "GIF"),
    "grey": lambda picture: picture.convert("L"),
}


def distances(first: bytes, second: bytes) -> tuple[int, int]:
    """How many bits of the key and of the whole hash differ."""
    bits = np.bitwise_count(np.frombuffer(first, np.uint8) ^ np.frombuffer(second, np.uint8))
    return int(bits[:8].sum()), int(bits.sum())


def are_copies(first: bytes, second: bytes) -> bool:
    key, whole = distances(first, second)
    return key <= KEY_DISTANCE and whole <= DISTANCE


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_recognised(name):
    for seed in range(5):
        picture = photograph(seed)
        assert are_copies(perceptual_hash(picture), perceptual_hash(COPIES[name](picture)))


def test_a_png_copy_has_the_same_hash():
    picture = photograph(0)
    assert perceptual_hash(picture) == perceptual_hash(encoded(picture, "PNG"))


def test_other_pictures_are_told_apart():
    hashes = [perceptual_hash(photograph(seed)) for seed in range(40)]
    assert all(distances(one, other)[1] > DISTANCE for i, one in enumerate(hashes) for other in hashes[:i])


def test_a_mirror_image_is_no_copy():
    picture = photograph(0)
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert not are_copies(perceptual_hash(picture), perceptual_hash(mirrored))


def test_the_key_holds_what_is_left_of_a_blurred_picture():
    picture = photograph(1)
    blurred = picture.resize((12, 12), Image.Resampling.LANCZOS).resize(picture.size, Image.Resampling.BICUBIC)
    key, whole = distances(perceptual_hash(picture), perceptual_hash(blurred))
    assert key / 64 < (whole - key) / 192 / 2


def test_half_of_the_bits_are_set():
    bits = int(np.bitwise_count(np.frombuffer(perceptual_hash(photograph(2)), np.uint8)).sum())
    assert bits == 128


def _ramp() -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1)))


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (640, 480), (200, 30, 30)),
        Image.fromarray(np.random.default_rng(0).integers(127, 130, size=(480, 640), dtype=np.uint8)),
        _ramp(),
    ],
    ids=["one colour", "faint noise", "a ramp"],
)
def test_pictures_that_say_nothing_have_no_hash(picture):
    assert perceptual_hash(picture) == bytes(32)
    assert perceptual_hash(encoded(picture, "JPEG", quality=60)) == bytes(32)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (8, 8), (3000, 40)])
def test_any_size_has_a_hash(size):
    assert len(perceptual_hash(photograph(0, size))) == 32


@pytest.mark.real_data
def test_real_photographs(real_data: Path):
    files = sorted((real_data / "coco" / "images" / "val2014").glob("*.jpg"))[:60]
    pictures = [Image.open(path).convert("RGB") for path in files]
    hashes = [perceptual_hash(picture) for picture in pictures]
    for picture, own in zip(pictures, hashes, strict=True):
        assert are_copies(own, perceptual_hash(encoded(scaled(picture, 0.5), "JPEG", quality=50)))
    others = [distances(one, other)[1] for index, one in enumerate(hashes) for other in hashes[:index]]
    assert min(others) > DISTANCE


@pytest.mark.slow
def test_every_processor_comes_to_the_same_bits():
    """OpenBLAS adds up in another order on each, and many frequencies of a drawn picture are as strong as others."""
    program = (
        "import hashlib, numpy as np; from PIL import Image\n"
        "from eve_core.data.perceptual_hash import perceptual_hash\n"
        "digest, draw = hashlib.sha256(), np.random.default_rng(0)\n"
        "for _ in range(100):\n"
        "    picture = np.full((90, 120, 3), 200, np.uint8)\n"
        "    x, y = draw.integers(0, 60, 2)\n"
        "    picture[x : x + 20, y : y + 25] = draw.integers(0, 255, 3)\n"
        "    digest.update(perceptual_hash(Image.fromarray(picture)))\n"
        "print(digest.hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_CORETYPE": processor},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for processor in ("Haswell", "Nehalem")
    }
    assert len(found) == 1
