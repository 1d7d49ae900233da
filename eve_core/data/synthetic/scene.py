"""A scene: one to three coloured shapes, each in a quadrant of its own, on a plain greyish background."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64
"""Width and height of a picture, in pixels."""
SHAPES = ("circle", "square", "triangle")
COLORS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 50),
}
SIZES = {"small": 13, "large": 24}
"""Width and height of a shape, in pixels."""
PLACES = {"top left": (16, 16), "top right": (48, 16), "bottom left": (16, 48), "bottom right": (48, 48)}
"""Centres of the quadrants (x, y), in pixels."""
_JITTER = 2


@dataclass(frozen=True)
class Shape:
    """One shape of a scene."""

    shape: str
    color: str
    size: str
    place: str
    shift: tuple[int, int]
    """How far its centre is from the quadrant's (x, y), in pixels."""


@dataclass(frozen=True)
class Scene:
    """A picture's content; equal scenes are equal pictures."""

    background: tuple[int, int, int]
    shapes: tuple[Shape, ...]

    def contains(self, shape: str, color: str | None = None) -> bool:
        """Whether it has such a shape, of that colour if one is given."""
        return any(own.shape == shape and color in (None, own.color) for own in self.shapes)

    def description(self) -> frozenset[tuple[str, str, str]]:
        """What a caption tells of it: the shape, colour and place of each of its shapes."""
        return frozenset((own.shape, own.color, own.place) for own in self.shapes)


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of `choices`, each with the same chance."""
    return choices[int(rng.integers(len(choices)))]


def random_scene(rng: np.random.Generator, fewest: int = 1) -> Scene:
    """A scene of `fewest` to three shapes; every attribute is drawn independently and evenly."""
    count = int(rng.integers(fewest, 4))
    places = rng.permutation(len(PLACES))[:count]
    names = tuple(PLACES)
    return Scene(_background(rng), tuple(random_shape(rng, names[place]) for place in places))


def random_shape(rng: np.random.Generator, place: str) -> Shape:
    """A shape at `place`."""
    return Shape(pick(rng, SHAPES), pick(rng, tuple(COLORS)), pick(rng, tuple(SIZES)), place, _shift(rng))


def redrawn(rng: np.random.Generator, scene: Scene) -> Scene:
    """The same shapes on another background and shifted otherwise: another picture that means the same."""
    return Scene(_background(rng), tuple(replace(shape, shift=_shift(rng)) for shape in scene.shapes))


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, 64 x 64 pixels."""
    image = Image.new("RGB", (SIDE, SIDE), scene.background)
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        x, y = (centre + shift for centre, shift in zip(PLACES[shape.place], shape.shift, strict=True))
        _draw_shape(canvas, shape.shape, x, y, SIZES[shape.size] // 2, COLORS[shape.color])
    return image


def _draw_shape(canvas: ImageDraw.ImageDraw, shape: str, x: int, y: int, radius: int, color: tuple[int, ...]) -> None:
    left, top, right, bottom = x - radius, y - radius, x + radius, y + radius
    if shape == "circle":
        canvas.ellipse((left, top, right, bottom), fill=color)
    elif shape == "square":
        canvas.rectangle((left, top, right, bottom), fill=color)
    else:
        canvas.polygon([(x, top), (right, bottom), (left, bottom)], fill=color)


def _background(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(rng.integers(85, 130)) + rng.integers(-8, 9, size=3)).tolist()
    return red, green, blue


def _shift(rng: np.random.Generator) -> tuple[int, int]:
    x, y = rng.integers(-_JITTER, _JITTER + 1, size=2).tolist()
    return x, y
