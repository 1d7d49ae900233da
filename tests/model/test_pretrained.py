"""Saving and loading: round trips, the Auto classes, and from pre-training to a task."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from eve_core.model import (
    EveConfig,
    EveForImageTextRetrieval,
    EveForPreTraining,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
    EveModel,
)

CLASSES = [
    EveModel,
    EveForPreTraining,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
    EveForImageTextRetrieval,
]


def assert_equal_states(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("model_class", CLASSES)
def test_every_model_survives_the_round_trip_bit_for_bit(config, tmp_path, model_class):
    model = model_class(config)
    for parameter in model.parameters():  # also where the initial value is a constant
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    assert_equal_states(model_class.from_pretrained(tmp_path).state_dict(), model.state_dict())
    assert (tmp_path / "model.safetensors").is_file()


def test_auto_classes_find_the_model(config, tmp_path):
    model = EveModel(config)
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is EveConfig
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is EveModel
    assert_equal_states(loaded.state_dict(), model.state_dict())


def test_the_auto_class_takes_the_encoder_out_of_a_downstream_checkpoint(config, tmp_path):
    model = EveForVisualReasoning(config)
    model.save_pretrained(tmp_path)
    assert_equal_states(AutoModel.from_pretrained(tmp_path).state_dict(), model.backbone.state_dict())


@pytest.mark.parametrize("model_class", CLASSES[2:])
def test_a_task_starts_from_the_pre_trained_encoder_bit_for_bit(config, tmp_path, model_class):
    pretrained = EveForPreTraining(config)
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    pretrained.save_pretrained(tmp_path)
    model = model_class.from_pretrained(tmp_path)
    assert_equal_states(model.backbone.state_dict(), pretrained.backbone.state_dict())
    head = {name: value for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    weights = [value for name, value in head.items() if name.endswith("weight") and value.dim() == 2]
    assert weights
    for value in weights:  # drawn, neither left as memory was nor zero
        assert torch.isfinite(value).all()
        assert 0 < float(value.abs().max()) <= config.initializer_range


def test_the_temperature_starts_at_its_configured_value(config, tmp_path):
    EveForPreTraining(config).save_pretrained(tmp_path)
    for model in (EveForImageTextRetrieval.from_pretrained(tmp_path), EveForImageTextRetrieval(config)):
        assert float(model.alignment.temperature.detach()) == pytest.approx(0.07)


def test_a_saved_checkpoint_holds_every_expert_stacked(config, tmp_path):
    EveForPreTraining(config).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    assert state["backbone.blocks.2.router.experts.fc1_weight"].shape == (4, 32, 48)


def test_initial_weights_are_a_truncated_normal_and_biases_zero():
    torch.manual_seed(0)
    model = EveForPreTraining(EveConfig.named("tiny", initializer_range=0.02, layer_scale_init=0.1))
    for name, parameter in model.state_dict().items():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert bool((parameter == 1).all()), name
        elif "gamma" in name:
            assert bool((parameter == 0.1).all()), name
        elif "word_embeddings" in name:
            assert float(parameter.std()) == pytest.approx(0.02, rel=0.05), name
        else:
            assert float(parameter.abs().max()) <= 0.02, name
            assert float(parameter.std()) == pytest.approx(0.0108, rel=0.25), name


def test_the_network_needs_neither_torchvision_nor_mlflow_nor_kfp():
    code = """
import sys
for absent in ("torchvision", "mlflow", "kfp"):
    sys.modules[absent] = None  # importing it fails, as where it is not installed
import torch
from eve_core.model import EveConfig, EveForPreTraining
EveForPreTraining(EveConfig.named("tiny")).backbone(input_ids=torch.ones(1, 3, dtype=torch.long))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
