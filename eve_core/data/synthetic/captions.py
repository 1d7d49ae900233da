"""Two captions of a scene, in different words; each names every shape with its colour and place."""

import numpy as np

from eve_core.data.synthetic.scene import Scene, Shape


def captions(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Two captions of at most 14 words; those of one or two shapes also say the sizes."""
    templates = [_full, _plain] if len(scene.shapes) < 3 else [_plain_without_sizes, _mixed]
    return [template([scene.shapes[i] for i in rng.permutation(len(scene.shapes))]) for template in templates]


def _full(shapes: list[Shape]) -> str:
    if len(shapes) == 1:
        return f"there is a {_sized(shapes[0])} at the {shapes[0].place}"
    return " and ".join(f"a {_sized(shape)} {shape.place}" for shape in shapes)


def _plain(shapes: list[Shape]) -> str:
    return ", ".join(f"{_sized(shape)} at the {shape.place}" for shape in shapes)


def _plain_without_sizes(shapes: list[Shape]) -> str:
    return ", ".join(f"{shape.color} {shape.shape} {shape.place}" for shape in shapes)


def _mixed(shapes: list[Shape]) -> str:
    """Only the last shape's size, so that the caption stays short."""
    first, second, third = shapes
    return f"{_plain_without_sizes([first, second])} and {_sized(third)} {third.place}"


def _sized(shape: Shape) -> str:
    return f"{shape.size} {shape.color} {shape.shape}"
