"""Scenes: what is drawn is what the scene says."""

import numpy as np
import pytest

from eve_core.data.synthetic.scene import COLORS, PLACES, SHAPES, SIZES, Scene, Shape, draw, random_scene


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_shape_lies_in_its_quadrant_with_its_colour_and_size(shape: str, size: str) -> None:
    for place, (x, y) in PLACES.items():
        scene = Scene((100, 100, 100), (Shape(shape, "red", size, place, (3, -3)),))
        pixels = np.asarray(draw(scene))
        painted = (pixels == COLORS["red"]).all(axis=-1)
        rows, columns = np.nonzero(painted)
        assert painted.sum() + (pixels == 100).all(axis=-1).sum() == 64 * 64
        assert abs(columns.max() - columns.min() + 1 - SIZES[size]) <= 1
        assert abs(rows.max() - rows.min() + 1 - SIZES[size]) <= 1
        quadrant = (slice(y - 16, y + 16), slice(x - 16, x + 16))
        assert painted[quadrant].sum() == painted.sum()


def test_the_shapes_look_different() -> None:
    drawn = [draw(Scene((0, 0, 0), (Shape(s, "red", "small", "top left", (0, 0)),))).tobytes() for s in SHAPES]
    assert len(set(drawn)) == len(SHAPES)


def test_random_scenes_use_distinct_quadrants_and_every_attribute() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(500)]
    assert all(len({own.place for own in scene.shapes}) == len(scene.shapes) for scene in scenes)
    assert {len(scene.shapes) for scene in scenes} == {1, 2, 3}
    assert {own.color for scene in scenes for own in scene.shapes} == set(COLORS)
    assert {len(random_scene(rng, fewest=2).shapes) for _ in range(50)} == {2, 3}
