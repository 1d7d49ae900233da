"""Figures show what a model was trained to do, whatever its tasks, and what its routers did."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from eve_core.config import PretrainingConfig, Split, TokenizerConfig
from eve_core.data.collation import Collator
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import split_rows, texts_of
from eve_core.data.tokenizer import train_tokenizer
from eve_core.evaluation.figures import pretraining_figures, training_figure
from eve_core.evaluation.figures.predictions import draw_predictions
from eve_core.evaluation.figures.routing import draw_routing
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.objectives import MaskedPairs
from tests.model.conftest import SMALL

TRAINED_ON = [Split(set="flickr8k", splits=["train"])]
OPTIMIZATION = {"steps": 1, "batch_size": 2, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def preprocessor(prepared):
    texts = texts_of(split_rows(prepared, TRAINED_ON[0]))
    return Preprocessor(train_tokenizer(texts, TokenizerConfig(vocab_size=300), 24), 32, 24)


@pytest.fixture
def network(preprocessor):
    def draw(**fields):
        torch.manual_seed(0)
        sizes = {**SMALL, "vocab_size": len(preprocessor.tokenizer), "max_text_length": 24}
        return EveForPreTraining(EveConfig(**{**sizes, **fields})).eval()

    return draw


@pytest.fixture
def batch_of(prepared, preprocessor):
    def collate(model, number=4):
        rows = split_rows(prepared, TRAINED_ON[0])
        pairs = MaskedPairs(rows, prepared.images, preprocessor, model.config, 0.75, 0.5)
        examples = [pairs.example(index, np.random.default_rng(index)) for index in range(number)]
        return Collator(preprocessor.tokenizer.pad_token_id)(examples)

    return collate


def column_titles(figure):
    return [title for axis in figure.axes for side in ("left", "center") if (title := axis.get_title(side))]


PREDICTED, ROUTED = {"predictions.png", "routing.png", "training.png"}, {"routing.png", "training.png"}
MODELS = {
    "mlm + mim": ({}, PREDICTED),
    "mlm": ({"pretraining_tasks": ["mlm"]}, PREDICTED),
    "mim": ({"pretraining_tasks": ["mim"]}, PREDICTED),
    "all": ({"pretraining_tasks": ["mlm", "mim", "itc", "itm"]}, PREDICTED),
    "itc + itm": ({"pretraining_tasks": ["itc", "itm"]}, ROUTED),
    "joint": ({"joint_masking": True}, PREDICTED),
    "mask tokens": ({"mask_tokens_in_encoder": True}, PREDICTED),
    "no soft router": ({"num_soft_router_layers": 0}, PREDICTED - {"routing.png"}),
}


@pytest.mark.parametrize(("fields", "figures"), MODELS.values(), ids=MODELS.keys())
def test_every_task_set_has_its_figures(prepared, preprocessor, network, tmp_path, fields, figures):
    model = network(**fields)
    model.save_pretrained(tmp_path)
    preprocessor.save(tmp_path)
    (tmp_path / "training_log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    earlier = tmp_path / "figures" / "routing.png"
    earlier.parent.mkdir()
    earlier.write_bytes(b"of another attempt")
    config = PretrainingConfig.model_validate(
        {"data": [TRAINED_ON[0].model_dump()], "optimization": OPTIMIZATION, "tasks": model.config.pretraining_tasks}
    )
    folder = pretraining_figures(prepared, config, tmp_path)
    assert {path.name for path in folder.iterdir()} == figures
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("tasks", "columns", "words"),
    [
        (["mlm", "mim"], ["masked", "reconstructed", "original"], True),
        (["mim"], ["masked", "reconstructed", "original"], False),
        (["mlm", "itc"], ["original"], True),
    ],
)
def test_reconstructions_belong_to_mim_and_words_to_mlm(preprocessor, network, batch_of, tasks, columns, words):
    model = network(pretraining_tasks=tasks)
    figure = draw_predictions(model, preprocessor.tokenizer, batch_of(model))
    assert column_titles(figure) == columns
    captions = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert len(captions) == (4 if words else 0)
    assert all("[" in caption for caption in captions)


def test_a_masked_patch_is_grey_then_reconstructed_and_the_rest_is_as_it_was(preprocessor, network, batch_of):
    model = network(normalize_pixel_targets=True)
    batch = batch_of(model, number=1)
    figure = draw_predictions(model, preprocessor.tokenizer, batch)
    masked, reconstructed, original = (axis.images[0].get_array() for axis in figure.axes)
    for patch in range(16):
        y, x = 8 * (patch // 4), 8 * (patch % 4)
        here = np.s_[y : y + 8, x : x + 8]
        if patch in batch["masked_patches"]:
            assert (masked[here] == 153).all()
            # An untrained network predicts nothing much, which is the patch's own mean.
            assert abs(reconstructed[here].mean() - original[here].mean()) < 25
        else:
            assert (masked[here] == original[here]).all()
            assert (reconstructed[here] == original[here]).all()


def test_the_bars_are_the_loads_of_unmasked_pairs(network, batch_of):
    model = network()
    batch = batch_of(model)
    figure = draw_routing(model, batch)
    with torch.no_grad():
        routing = model.backbone(batch["pixel_values"], batch["input_ids"], batch["attention_mask"]).routing
    assert len(figure.axes) == len(routing) == 2
    for axis, block, spread in zip(figure.axes, (1, 2), routing, strict=True):
        vision, text = ([bar.get_height() for bar in bars] for bars in axis.containers)
        assert vision == pytest.approx((100 * spread.vision_load).tolist(), abs=1e-4)
        assert text == pytest.approx((100 * spread.text_load).tolist(), abs=1e-4)
        assert sum(vision) == pytest.approx(100, abs=1e-3)
        title = f"block {block}: entropy {float(spread.entropy):.2f}, dead experts {int(spread.dead_experts)}"
        assert axis.get_title("left") == title


def test_a_training_log_of_any_tasks_becomes_curves(tmp_path):
    entry = {"loss": 2.0, "mlm": 1.0, "itc": 1.0, "load_balance": 1.1, "router/2/entropy": 0.9, "router/3/entropy": 0.8}
    lines = [json.dumps({"step": step, **entry}) for step in (1, 2)]
    (tmp_path / "training_log.jsonl").write_text("\n".join(lines))
    with Image.open(training_figure(tmp_path) / "training.png") as picture:
        wide, high = picture.size
    (tmp_path / "training_log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}))
    with Image.open(training_figure(tmp_path) / "training.png") as picture:
        assert 2.5 * picture.width < wide
        assert 1.5 * picture.height < high  # four panels need a second row
    assert not (tmp_path / "figures" / "expert_load.png").exists()


def test_the_experts_loads_are_pictures_over_the_steps(tmp_path):
    loads = {f"router/{block}/{side}_load": [0.5, 0.3, 0.2] for block in (1, 2) for side in ("vision", "text")}
    (tmp_path / "training_log.jsonl").write_text(
        "\n".join(json.dumps({"step": step, "loss": 2.0, **loads}) for step in (1, 2))
    )
    with Image.open(training_figure(tmp_path) / "expert_load.png") as picture:
        assert min(picture.size) > 300
