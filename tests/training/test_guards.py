"""What must not go unnoticed."""

import warnings

import pytest

from eve_core.training.guards import Warner


def look(warner: Warner, losses, **entry):
    for step, loss in enumerate(losses, start=1):
        warner.look_at({"loss": loss, **entry}, step)


def test_a_loss_that_jumps_is_warned_about():
    warner = Warner()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(warner, [4.0, 3.0, 2.5, 2.4, 2.2, 2.3, 2.1, 2.2, 2.0, 2.1, 2.3, 2.9])
    with pytest.warns(UserWarning, match="the loss rose to 4 at step 1, from 2.2"):
        look(warner, [4.0])


def test_experts_that_no_token_chooses_are_warned_about_once():
    warner = Warner()
    load = {"router/3/vision_load": [0.5, 0.0, 0.5, 0.0], "router/3/text_load": [0.0, 0.0, 0.5, 0.5]}
    with pytest.warns(UserWarning, match="no token chose experts 1 of router/3 up to step 1") as told:
        look(warner, [1.0, 1.0, 1.0], **load)
    assert len(told) == 1
    alive = {**load, "router/3/text_load": [0.0, 0.1, 0.4, 0.5]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(warner, [1.0], **alive)
    with pytest.warns(UserWarning, match="experts 1 "):
        look(warner, [1.0], **load)
