"""What must not go unnoticed."""

import warnings

import pytest
import torch

from eve_core.config import LaunchConfig
from eve_core.errors import UserError
from eve_core.training.guards import Warner, refuse_missing_gpus


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


def test_a_recipe_for_gpus_does_not_train_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="asks for one process a GPU, but this machine has no GPU that PyTorch can use"):
        refuse_missing_gpus("gpus")
    refuse_missing_gpus(2)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    with pytest.raises(UserError, match="has 16 processes train on a machine of 8 GPUs; set it to gpus, or to 8"):
        refuse_missing_gpus(16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    refuse_missing_gpus("gpus")


def test_nodes_without_gpus_have_no_process_a_gpu():
    trainjob = {"image": "eve-train:1", "volume_claim": "eve", "gpus_per_node": 0}
    with pytest.raises(ValueError, match=r"processes is gpus, but trainjob\.gpus_per_node is 0"):
        LaunchConfig.model_validate({"processes": "gpus", "trainjob": trainjob})
