"""Statements about two scenes, each made twice: true of one pair, and false of a pair that differs from it as little as
possible. So the sentence alone says nothing about its truth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from eve_core.data.synthetic.scene import (
    COLORS,
    PLACES,
    SHAPES,
    Scene,
    Shape,
    pick,
    random_scene,
    random_shape,
    redrawn,
)

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
    counts: bool = False
    """Whether it is about the numbers of shapes rather than what they are."""


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
    edits = _recounted if statement.counts else _repainted
    by_picture = [
        [(edited, right) for edited in edits(rng, left) if not statement.holds(edited, right)],
        [(left, edited) for edited in edits(rng, right) if not statement.holds(left, edited)],
        [(right, left)] if not statement.holds(right, left) else [],
    ]
    # Each picture and the exchange have the same chance: otherwise the commonest way of being false would give it away.
    possible = [pairs for pairs in by_picture if pairs]
    if not possible:
        return None
    pairs = possible[int(rng.integers(len(possible)))]
    return pairs[int(rng.integers(len(pairs)))]


def _repainted(rng: np.random.Generator, scene: Scene) -> Iterator[Scene]:
    """The scene with one shape's form or colour changed, in every way."""
    for index, own in enumerate(scene.shapes):
        for changed in [*(replace(own, shape=s) for s in SHAPES), *(replace(own, color=c) for c in COLORS)]:
            if changed != own:
                yield _with_shape(scene, index, changed)


def _recounted(rng: np.random.Generator, scene: Scene) -> Iterator[Scene]:
    """The scene with one shape more or one less."""
    if len(scene.shapes) < 3:
        free = [place for place in PLACES if place not in {own.place for own in scene.shapes}]
        yield replace(scene, shapes=(*scene.shapes, random_shape(rng, pick(rng, free))))
    if len(scene.shapes) > 1:
        gone = int(rng.integers(len(scene.shapes)))
        yield replace(scene, shapes=scene.shapes[:gone] + scene.shapes[gone + 1 :])


def _with_shape(scene: Scene, index: int, shape: Shape) -> Scene:
    return replace(scene, shapes=(*scene.shapes[:index], shape, *scene.shapes[index + 1 :]))


def _any_shape(rng: np.random.Generator, scene: Scene) -> tuple[int, Shape]:
    index = int(rng.integers(len(scene.shapes)))
    return index, scene.shapes[index]


# The kinds. Each takes two random scenes and returns a statement with a pair of which it is likely to be true.


def _in_left(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    _, own = _any_shape(rng, left)
    sentence = f"there is a {own.color} {own.shape} in the left image"
    return _Statement(sentence, lambda left, right: left.contains(own.shape, own.color)), (left, right)


def _in_right(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    _, own = _any_shape(rng, right)
    sentence = f"there is a {own.color} {own.shape} in the right image"
    return _Statement(sentence, lambda left, right: right.contains(own.shape, own.color)), (left, right)


def _both_colored(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    _, own = _any_shape(rng, left)
    index, other = _any_shape(rng, right)
    right = _with_shape(right, index, replace(other, shape=own.shape, color=own.color))

    def holds(left: Scene, right: Scene) -> bool:
        return left.contains(own.shape, own.color) and right.contains(own.shape, own.color)

    return _Statement(f"both images contain a {own.color} {own.shape}", holds), (left, right)


def _both(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    shape = pick(rng, SHAPES)
    sentence = f"both images contain a {shape}"
    return _Statement(sentence, lambda left, right: left.contains(shape) and right.contains(shape)), (left, right)


def _exactly_one(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    shape = pick(rng, SHAPES)
    sentence = f"exactly one image contains a {shape}"
    return _Statement(sentence, lambda left, right: left.contains(shape) != right.contains(shape)), (left, right)


def _more(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    sentence = "the left image contains more shapes than the right image"
    return _Statement(sentence, lambda left, right: len(left.shapes) > len(right.shapes), counts=True), (left, right)


def _fewer(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    sentence = "the left image contains fewer shapes than the right image"
    return _Statement(sentence, lambda left, right: len(left.shapes) < len(right.shapes), counts=True), (left, right)


def _as_many(rng: np.random.Generator, left: Scene, right: Scene) -> tuple[_Statement, Pair]:
    sentence = "both images contain the same number of shapes"
    return _Statement(sentence, lambda left, right: len(left.shapes) == len(right.shapes), counts=True), (left, right)


_KINDS = (_in_left, _in_right, _both_colored, _both, _exactly_one, _more, _fewer, _as_many)
