"""Statements about two scenes, each made twice: true of one pair, and false of a pair that differs from it as little as
possible. So the sentence alone says nothing about its truth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eve_core.data.synthetic.scene import COLORS, SHAPES, SIZES, Scene, Shape, pick, random_scene, redrawn

Pair = tuple[Scene, Scene]
"""The left and the right scene."""


@dataclass(frozen=True)
class StatementPairs:
    """A sentence, a pair of which it is true and one of which it is false; the four scenes are different pictures."""

    sentence: str
    true: Pair
    false: Pair


@dataclass(frozen=True)
class _Statement:
    sentence: str
    holds: Callable[[Scene, Scene], bool]


def random_statement(rng: np.random.Generator) -> StatementPairs:
    """A statement of a random kind with its two pairs."""
    make = _KINDS[int(rng.integers(len(_KINDS)))]
    while True:
        left, right = random_scene(rng), random_scene(rng)
        statement, true = make(rng, left, right)
        if not statement.holds(*true):
            continue
        false = _falsified(rng, statement, true)
        if false is not None:
            return StatementPairs(statement.sentence, true, (redrawn(rng, false[0]), redrawn(rng, false[1])))


def _falsified(rng: np.random.Generator, statement: _Statement, true: Pair) -> Pair | None:
    """A pair that differs from `true` in one shape, or in the order of the pictures, and of which it is false."""
    left, right = true
    by_picture = [
        [(edited, right) for edited in _repainted(left) if not statement.holds(edited, right)],
        [(left, edited) for edited in _repainted(right) if not statement.holds(left, edited)],
        [(right, left)] if not statement.holds(right, left) else [],
    ]
    # Each picture and the exchange have the same chance: otherwise the commonest way of being false would give it away.
    possible = [pairs for pairs in by_picture if pairs]
    if not possible:
        return None
    pairs = possible[int(rng.integers(len(possible)))]
    return pairs[int(rng.integers(len(pairs)))]


def _repainted(scene: Scene) -> Iterator[Scene]:
    """The scene with one attribute of one shape changed, in every way."""
    for index, own in enumerate(scene.shapes):
        for changed in [
            *(replace(own, shape=shape) for shape in SHAPES),
            *(replace(own, color=color) for color in COLORS),
            *(replace(own, size=size) for size in SIZES),
        ]:
            if changed != own:
                yield _with_shape(scene, index, changed)


def _with_shape(scene: Scene, index: int, shape: Shape) -> Scene:
    return replace(scene, shapes=(*scene.shapes[:index], shape, *scene.shapes[index + 1 :]))


def _some_shape_with(rng: np.random.Generator, scene: Scene, **attributes: Any) -> Scene:
    """The scene with `attributes` given to one of its shapes."""
    index = int(rng.integers(len(scene.shapes)))
    return _with_shape(scene, index, replace(scene.shapes[index], **attributes))


def _has(scene: Scene, attribute: str, value: str) -> bool:
    return any(getattr(shape, attribute) == value for shape in scene.shapes)


# The kinds. Each takes two random scenes and returns a statement with a pair of which it is likely to be true.


def _left_more(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    sentence = "the left image contains more shapes than the right image"
    return _Statement(sentence, lambda left, right: len(left.shapes) > len(right.shapes)), (left, right)


def _right_more(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    sentence = "the right image contains more shapes than the left image"
    return _Statement(sentence, lambda left, right: len(left.shapes) < len(right.shapes)), (left, right)


def _both_large(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    pair = _some_shape_with(rng, left, size="large"), _some_shape_with(rng, right, size="large")
    statement = _Statement(
        "both images contain a large shape", lambda *pair: all(_has(s, "size", "large") for s in pair)
    )
    return statement, pair


def _both_colored(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    color = pick(rng, tuple(COLORS))
    pair = _some_shape_with(rng, left, color=color), _some_shape_with(rng, right, color=color)
    sentence = f"both images contain a {color} shape"
    return _Statement(sentence, lambda *pair: all(_has(scene, "color", color) for scene in pair)), pair


def _one_shaped(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    shape = pick(rng, SHAPES)
    pair = _some_shape_with(rng, left, shape=shape), right
    sentence = f"at least one image contains a {shape}"
    return _Statement(sentence, lambda *pair: any(_has(scene, "shape", shape) for scene in pair)), pair


_KINDS = (_left_more, _right_more, _both_large, _both_colored, _one_shaped)
