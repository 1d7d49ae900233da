"""The network computes what the official code computes, given the official code's checkpoints.

The files in `fixtures/golden` hold weights, inputs and outputs of the official models in a tiny size, in float32 and
evaluation mode: `dropless` with room for every token at every expert, `capacity1` with the official code's own room,
where tokens over an expert's capacity are dropped. Each model goes the whole way here: official checkpoint file ->
conversion -> saved folder -> `from_pretrained` -> outputs.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from eve_core.cli.main import app
from eve_core.model import (
    EveForImageTextRetrieval,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
    EveModel,
    EvePreTrainedModel,
)
from eve_core.model.official import convert, read_checkpoint

FOLDER = Path(__file__).parents[1] / "fixtures" / "golden"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
CLASSES = {
    "backbone": EveModel,
    "vqa": EveForVisualQuestionAnswering,
    "nlvr2": EveForVisualReasoning,
    "retrieval": EveForImageTextRetrieval,
}

Inputs = dict[str, torch.Tensor]


class Golden:
    """A golden file: its tensors, its config, and how to come by its models."""

    def __init__(self, name: str, folder: Path, suffix: str) -> None:
        with safe_open(FOLDER / f"official_tiny_{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata()
        self.config = json.loads(metadata["config"])
        self.routing = {"official_routing": True, "capacity_factor": float(metadata["capacity_factor"])}
        self.folder, self.suffix = folder, suffix

    def checkpoint(self, name: str) -> Path:
        """The state dict of one model as an official checkpoint file."""
        path, prefix = self.folder / f"{name}{self.suffix}", f"{name}.state."
        state = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
        if self.suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save({"model": state, "epoch": 9}, path)
        return path

    def model(self, name: str, task: str, **fields: object) -> EvePreTrainedModel:
        conversion = convert(read_checkpoint(self.checkpoint(name)), self.config, task, **fields)
        conversion.model.save_pretrained(self.folder / "converted")
        return CLASSES[task].from_pretrained(self.folder / "converted").eval()

    def inputs(self) -> Inputs:
        return {
            "pixel_values": self["in.image"][:3],
            "input_ids": self["in.text_ids"],
            "attention_mask": self["in.text_mask"].long(),
        }

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]


@pytest.fixture(params=[".pth", ".safetensors"])
def dropless(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    return Golden("dropless", tmp_path, request.param)


@pytest.fixture(params=["dropless", "capacity1"])
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """Either file; compared with the official routing switched on."""
    return Golden(request.param, tmp_path, ".pth")


def hidden_states(backbone: EvePreTrainedModel, inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """Of picture and text, the picture alone and the text alone, each (B, N, D)."""
    both = backbone(**inputs)
    vision = backbone(pixel_values=inputs["pixel_values"])
    text = backbone(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    together = torch.cat([both.vision_hidden_state, both.text_hidden_state], dim=1)
    return together, vision.vision_hidden_state, text.text_hidden_state


def pairs(golden: Golden) -> Inputs:
    return {**golden.inputs(), "pixel_values": torch.stack(golden["in.image"].chunk(2), dim=1)}


def compare_retrieval(golden: Golden, model: EvePreTrainedModel) -> None:
    inputs = golden.inputs()
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    features = model.embed_images(inputs["pixel_values"]), model.embed_texts(**texts)
    torch.testing.assert_close(features[0], golden["retrieval.out.image_feature"], **CLOSE)
    torch.testing.assert_close(features[1], golden["retrieval.out.text_feature"], **CLOSE)
    torch.testing.assert_close(model.match(**inputs), golden["retrieval.out.itm_logits"], **CLOSE)


def test_the_golden_texts_are_padded(golden):
    assert 0 < golden["in.text_mask"].sum() < golden["in.text_mask"].numel()


@pytest.mark.parametrize("task", ["backbone", "vqa"])
@torch.no_grad()
def test_hidden_states_of_real_tokens(dropless, task):
    model = dropless.model("vqa", task)
    inputs = dropless.inputs()
    both, vision, text = hidden_states(model if task == "backbone" else model.backbone, inputs)
    real = inputs["attention_mask"].bool()
    with_picture = torch.cat([torch.ones(3, 17, dtype=torch.bool), real], dim=1)
    torch.testing.assert_close(both[with_picture], dropless["vqa.out.backbone_vl"][with_picture], **CLOSE)
    torch.testing.assert_close(vision, dropless["vqa.out.backbone_vision"], **CLOSE)
    torch.testing.assert_close(text[real], dropless["vqa.out.backbone_text"][real], **CLOSE)


@torch.no_grad()
def test_answer_logits(dropless):
    logits = dropless.model("vqa", "vqa")(**dropless.inputs()).logits
    torch.testing.assert_close(logits, dropless["vqa.out.logits"], **CLOSE)


@pytest.mark.parametrize("head", ["nlvr2", "nlvr2_biattn"])
@torch.no_grad()
def test_visual_reasoning_logits(dropless, head):
    logits = dropless.model(head, "nlvr2")(**pairs(dropless)).logits
    torch.testing.assert_close(logits, dropless[f"{head}.out.logits"], **CLOSE)


@torch.no_grad()
def test_retrieval_features_and_matching_logits(dropless):
    compare_retrieval(dropless, dropless.model("retrieval", "retrieval"))


@torch.no_grad()
def test_official_routing_gives_hidden_states_of_every_token_and_the_load_balance_loss(golden):
    backbone = golden.model("vqa", "backbone", **golden.routing)
    both, vision, text = hidden_states(backbone, golden.inputs())
    torch.testing.assert_close(both, golden["vqa.out.backbone_vl"], **CLOSE)
    torch.testing.assert_close(vision, golden["vqa.out.backbone_vision"], **CLOSE)
    torch.testing.assert_close(text, golden["vqa.out.backbone_text"], **CLOSE)
    losses = torch.stack([spread.use.load_balance_loss() for spread in backbone(**golden.inputs()).routing])
    torch.testing.assert_close(losses, golden["vqa.out.aux_loss_per_moe_layer"], **CLOSE)


@torch.no_grad()
def test_official_routing_through_every_head(golden):
    reasoning = {head: golden.model(head, "nlvr2", **golden.routing) for head in ("nlvr2", "nlvr2_biattn")}
    for head, model in reasoning.items():
        torch.testing.assert_close(model(**pairs(golden)).logits, golden[f"{head}.out.logits"], **CLOSE)
    compare_retrieval(golden, golden.model("retrieval", "retrieval", **golden.routing))


@torch.no_grad()
def test_the_command_line_goes_the_same_way(golden):
    config, out = golden.folder / "config.json", golden.folder / "out"
    config.write_text(json.dumps(golden.config))
    arguments = ["convert-official", golden.checkpoint("vqa"), "--config", config, "--task", "vqa", "--out", out]
    routing = ["--official-routing", "--capacity-factor", golden.routing["capacity_factor"]]
    done = CliRunner().invoke(app, [str(argument) for argument in [*arguments, *routing]], catch_exceptions=False)
    assert done.exit_code == 0
    model = EveForVisualQuestionAnswering.from_pretrained(out).eval()
    torch.testing.assert_close(model(**golden.inputs()).logits, golden["vqa.out.logits"], **CLOSE)


@torch.no_grad()
def test_tokens_are_dropped_where_capacity_is_short(tmp_path):
    golden = Golden("capacity1", tmp_path, ".pth")
    dropped, kept = (golden.model("vqa", "vqa", **fields)(**golden.inputs()).logits for fields in (golden.routing, {}))
    assert not torch.allclose(dropped, kept, **CLOSE)
