"""The network computes what the official code computes, given the official code's weights.

`fixtures/golden/official_tiny_dropless.safetensors` holds weights, inputs and outputs of the official models in a tiny
size, in float32 and evaluation mode, with room for every token at every expert.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from eve_core.model import (
    EveConfig,
    EveForImageTextRetrieval,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
    EvePreTrainedModel,
)
from eve_core.model.soft_router import SoftRouter

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden" / "official_tiny_dropless.safetensors"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

# Official names, from the whole to the part; experts and queries need more than another name and come below.
RENAMED = [
    (r"^backbone\.class_embedding_vision$", "backbone.vision_embeddings.class_token"),
    (r"^backbone\.type_embed_(vision|text)$", r"backbone.\1_embeddings.type_embedding"),
    (r"^backbone\.pos_embed_(vision|text)$", r"backbone.\1_embeddings.position_embeddings"),
    (r"^backbone\.patch_embed\.", "backbone.vision_embeddings.patch_projection."),
    (r"^backbone\.word_embedding\.", "backbone.text_embeddings.word_embeddings."),
    (r"^backbone\.layer_norm_text\.", "backbone.text_embeddings.norm."),
    (r"^backbone\.pre_layrnorm\.", "backbone.pre_norm."),
    (r"^backbone\.encoder\.layers\.", "backbone.blocks."),
    (r"\.attn\.proj\.", ".attention.projection."),
    (r"\.attn\.", ".attention."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2_imag\.", ".router.vision_norm."),
    (r"\.norm2_text\.", ".router.text_norm."),
    (r"\.norm2_vl\.", ".router.norm."),
    (r"\.mlp_imag\.", ".router.vision."),
    (r"\.mlp_text\.", ".router.text."),
    (r"\.mlp_moe\.moe\.(vision|text)_embed$", r".router.\1_embedding"),
    (r"\.mlp_moe\.moe\.gate\.wg\.", ".router.gate."),
    (r"^output\.0\.", "head.dense."),
    (r"^output\.1\.", "head.norm."),
    (r"^output\.3\.", "head.output."),
    (r"^itc_temp$", "temperature"),
    (r"^itc_(vision|text)_proj_head\.", r"\1_projection."),
    (r"^itm_head\.", "matching_head."),
]
EXPERT = re.compile(r"^(.*)\.mlp_moe\.moe\.experts\.experts\.(\d+)\.(fc[12])\.(weight|bias)$")

Golden = dict[str, torch.Tensor]
Official = Callable[..., EvePreTrainedModel]


def our_state(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The official state dict under our names; one expert's matrices become rows of the stacked ones, transposed."""
    state: dict[str, torch.Tensor] = {}
    experts: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in official.items():
        if expert := EXPERT.match(name):
            block, number, layer, kind = expert.groups()
            stacked = block.replace("encoder.layers", "blocks") + f".router.experts.{layer}_{kind}"
            experts.setdefault(stacked, {})[int(number)] = value.T if kind == "weight" else value
        elif "position_ids" not in name:
            for pattern, replacement in RENAMED:
                name = re.sub(pattern, replacement, name)
            state[name] = value
    stacked_experts = {
        name: torch.stack([parts[i] for i in range(len(parts))]).contiguous() for name, parts in experts.items()
    }
    return state | stacked_experts


@pytest.fixture(scope="module")
def golden() -> Golden:
    with safe_open(GOLDEN, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


@pytest.fixture(scope="module")
def official(golden: Golden) -> Official:
    """Builds one of our models with an official model's weights, all of them and no others."""
    with safe_open(GOLDEN, "pt") as file:
        metadata = file.metadata()
    sizes = json.loads(metadata["config"])

    def build(model_class: type[EvePreTrainedModel], prefix: str, **fields: int) -> EvePreTrainedModel:
        config = EveConfig(
            vocab_size=sizes["vocab_size"],
            max_text_length=int(metadata["text_len"]),
            image_size=int(metadata["image_res"]),
            patch_size=sizes["patch_size"],
            hidden_size=sizes["vision_width"],
            num_hidden_layers=sizes["num_hidden_layers"],
            num_attention_heads=sizes["num_attention_heads"],
            intermediate_size=sizes["intermediate_size"],
            num_soft_router_layers=len(sizes["moeffn_layers"]),
            num_experts=sizes["moe_param"]["num_experts"],
            num_experts_per_token=sizes["moe_param"]["topk"],
            **fields,
        )
        model = model_class(config)
        prefix = f"{prefix}.state."
        state = {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}
        model.load_state_dict(our_state(state), strict=True)
        return model.eval()

    return build


@pytest.fixture(scope="module")
def inputs(golden: Golden) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": golden["in.image"][:3],
        "input_ids": golden["in.text_ids"],
        "attention_mask": golden["in.text_mask"].long(),
    }


@pytest.fixture(scope="module")
def vqa(official: Official) -> EvePreTrainedModel:
    return official(EveForVisualQuestionAnswering, "vqa", num_labels=3128)


def test_the_golden_texts_are_padded(inputs):
    assert 0 < inputs["attention_mask"].sum() < inputs["attention_mask"].numel()


@torch.no_grad()
def test_hidden_states_of_picture_and_text(golden, vqa, inputs):
    encoded = vqa.backbone(**inputs)
    vision, text = golden["vqa.out.backbone_vl"].split([17, 10], dim=1)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(encoded.vision_hidden_state, vision, **CLOSE)
    torch.testing.assert_close(encoded.text_hidden_state[real], text[real], **CLOSE)


@torch.no_grad()
def test_hidden_states_of_a_picture_alone_and_a_text_alone(golden, vqa, inputs):
    vision = vqa.backbone(pixel_values=inputs["pixel_values"]).vision_hidden_state
    text = vqa.backbone(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).text_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(vision, golden["vqa.out.backbone_vision"], **CLOSE)
    torch.testing.assert_close(text[real], golden["vqa.out.backbone_text"][real], **CLOSE)


@torch.no_grad()
def test_load_balance_loss_where_padding_is_counted_as_the_official_code_does(golden, vqa, inputs):
    def count_padding(router, arguments):
        hidden, is_text, _ = arguments
        return hidden, is_text, None

    routers = [module for module in vqa.modules() if isinstance(module, SoftRouter)]
    hooks = [router.register_forward_pre_hook(count_padding) for router in routers]
    encoded = vqa.backbone(**inputs)
    for hook in hooks:
        hook.remove()
    losses = torch.stack([routing.load_balance_loss for routing in encoded.routing])
    torch.testing.assert_close(losses, golden["vqa.out.aux_loss_per_moe_layer"], **CLOSE)
    # Then padding goes the official way too, and even its hidden states agree.
    hidden = torch.cat([encoded.vision_hidden_state, encoded.text_hidden_state], dim=1)
    torch.testing.assert_close(hidden, golden["vqa.out.backbone_vl"], **CLOSE)


@torch.no_grad()
def test_answer_logits(golden, vqa, inputs):
    torch.testing.assert_close(vqa(**inputs).logits, golden["vqa.out.logits"], **CLOSE)


@torch.no_grad()
def test_visual_reasoning_logits(golden, official, inputs):
    model = official(EveForVisualReasoning, "nlvr2")
    left, right = golden["in.image"].chunk(2)
    pairs = torch.stack([left, right], dim=1)
    logits = model(**{**inputs, "pixel_values": pairs}).logits
    torch.testing.assert_close(logits, golden["nlvr2.out.logits"], **CLOSE)


@torch.no_grad()
def test_retrieval_features_and_matching_logits(golden, official, inputs):
    model = official(EveForImageTextRetrieval, "retrieval")
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    images = model.embed_images(inputs["pixel_values"])
    torch.testing.assert_close(images, golden["retrieval.out.image_feature"], **CLOSE)
    torch.testing.assert_close(model.embed_texts(**texts), golden["retrieval.out.text_feature"], **CLOSE)
    torch.testing.assert_close(model.match(**inputs), golden["retrieval.out.itm_logits"], **CLOSE)
