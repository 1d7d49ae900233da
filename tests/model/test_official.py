"""Conversion of official checkpoints at sizes of their own: every tensor in its place, every mismatch named."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from eve_core.errors import UserError
from eve_core.model.embeddings import interpolate_positions
from eve_core.model.official import convert, read_checkpoint

D, INNER, EXPERTS, ANSWERS = 64, 80, 6, 7
SOFT = (1, 3)
CONFIG = {
    "vision_width": D,
    "patch_size": 16,
    "hidden_act": "quick_gelu",
    "num_attention_heads": 4,
    "attention_dropout": 0.0,
    "intermediate_size": INNER,
    "num_hidden_layers": 5,
    "drop_path_rate": 0.2,
    "vocab_size": 97,
    "vision_vocab_size": 8192,
    "relative_position_embed": False,
    "ffn_type": "moe",
    "moeffn_layers": list(SOFT),
    "vlffn_layers": list(SOFT),
    "moe_param": {"num_experts": EXPERTS, "topk": 2, "type_route": True},
}
BLOCK = "backbone.encoder.layers"

State = dict[str, torch.Tensor]


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int = D) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def network(name: str) -> dict[str, tuple[int, ...]]:
    return linear(f"{name}.fc1", INNER, D) | linear(f"{name}.fc2", D, INNER)


def backbone() -> dict[str, tuple[int, ...]]:
    shapes = {f"backbone.{name}": (D,) for name in ("class_embedding_vision", "type_embed_vision", "type_embed_text")}
    shapes |= {"backbone.pos_embed_vision": (10, D), "backbone.pos_embed_text": (196, D)}
    shapes |= {"backbone.patch_embed.weight": (D, 3, 16, 16), "backbone.patch_embed.bias": (D,)}
    shapes |= {"backbone.word_embedding.weight": (97, D)}
    shapes |= norm("backbone.layer_norm_text") | norm("backbone.pre_layrnorm") | norm("backbone.norm")
    for index in range(5):
        block = f"{BLOCK}.{index}"
        shapes |= {f"{block}.{name}": (D,) for name in ("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias")}
        shapes |= {f"{block}.attn.qkv.weight": (3 * D, D)} | linear(f"{block}.attn.proj", D, D) | norm(f"{block}.norm1")
        if index in SOFT:
            moe = f"{block}.mlp_moe.moe"
            shapes |= norm(f"{block}.norm2_vl") | {f"{moe}.gate.wg.weight": (EXPERTS, D)}
            shapes |= {f"{moe}.vision_embed": (D,), f"{moe}.text_embed": (D,)}
            for expert in range(EXPERTS):
                shapes |= network(f"{moe}.experts.experts.{expert}")
        else:
            shapes |= norm(f"{block}.norm2_imag") | norm(f"{block}.norm2_text")
            shapes |= network(f"{block}.mlp_imag") | network(f"{block}.mlp_text")
    return shapes


HEADS = {
    "vqa": linear("output.0", 2 * D, D) | norm("output.1", 2 * D) | linear("output.3", ANSWERS, 2 * D),
    "nlvr2": linear("output.0", 2 * D, 2 * D) | norm("output.1", 2 * D) | linear("output.3", 2, 2 * D),
    "retrieval": {
        "itc_temp": (),
        "itc_vision_proj_head.weight": (D, D),
        "itc_text_proj_head.weight": (D, D),
        **linear("itm_head", 2, D),
    },
}
BI_ATTENTION = linear("fc.0", D, 2 * D) | linear("attn_pool.fc.0", 1, D) | linear("nlvr2_output", 2, 2 * D)
for side in ("attn1", "attn2"):
    BI_ATTENTION |= {f"{side}.in_proj_weight": (3 * D, D), f"{side}.in_proj_bias": (3 * D,)}
    BI_ATTENTION |= linear(f"{side}.out_proj", D, D)


def official(head: dict[str, tuple[int, ...]]) -> State:
    """An official state dict with random weights, buffers included."""
    torch.manual_seed(0)
    state = {name: torch.randn(shape) for name, shape in (backbone() | head).items()}
    buffers = {"position_ids_vision": torch.arange(10).expand(1, -1), "position_ids_text": torch.arange(196)}
    return state | {f"backbone.{name}": value for name, value in buffers.items()}


@pytest.fixture
def state() -> State:
    return official(HEADS["vqa"])


def refusal(state: State, task: str = "vqa", config: dict[str, Any] = CONFIG, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        convert(state, config, task, **options)
    return str(caught.value)


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.dtype == torch.float32 and torch.equal(ours, theirs)


def test_every_tensor_finds_its_place(state):
    model = convert(state, CONFIG, "vqa").model
    ours, theirs = dict(model.named_parameters()), {}
    for modality in ("vision", "text"):
        table = f"backbone.{modality}_embeddings"
        theirs[f"{table}.type_embedding"] = f"backbone.type_embed_{modality}"
        theirs[f"{table}.position_embeddings"] = f"backbone.pos_embed_{modality}"
    theirs["backbone.vision_embeddings.class_token"] = "backbone.class_embedding_vision"
    theirs["backbone.text_embeddings.word_embeddings.weight"] = "backbone.word_embedding.weight"
    blocks = [f"backbone.blocks.{index}" for index in range(5)]
    for kind in ("weight", "bias"):
        theirs[f"backbone.vision_embeddings.patch_projection.{kind}"] = f"backbone.patch_embed.{kind}"
        theirs[f"backbone.text_embeddings.norm.{kind}"] = f"backbone.layer_norm_text.{kind}"
        theirs[f"backbone.pre_norm.{kind}"] = f"backbone.pre_layrnorm.{kind}"
        theirs[f"backbone.norm.{kind}"] = f"backbone.norm.{kind}"
        theirs |= {
            f"head.{ours}.{kind}": f"output.{n}.{kind}" for ours, n in (("dense", 0), ("norm", 1), ("output", 3))
        }
        for index, block in enumerate(blocks):
            theirs[f"{block}.attention_norm.{kind}"] = f"{BLOCK}.{index}.norm1.{kind}"
            theirs[f"{block}.attention.projection.{kind}"] = f"{BLOCK}.{index}.attn.proj.{kind}"
            if index in SOFT:
                theirs[f"{block}.router.norm.{kind}"] = f"{BLOCK}.{index}.norm2_vl.{kind}"
                continue
            for modality, name in (("vision", "imag"), ("text", "text")):
                theirs[f"{block}.router.norms.{modality}.{kind}"] = f"{BLOCK}.{index}.norm2_{name}.{kind}"
                for layer in ("fc1", "fc2"):
                    theirs[f"{block}.router.{modality}.{layer}.{kind}"] = f"{BLOCK}.{index}.mlp_{name}.{layer}.{kind}"
    for index, block in enumerate(blocks):
        theirs |= {f"{block}.gamma_{number}": f"{BLOCK}.{index}.gamma_{number}" for number in (1, 2)}
        theirs |= {f"{block}.attention.{part}_bias": f"{BLOCK}.{index}.attn.{part}_bias" for part in ("q", "v")}
        theirs[f"{block}.attention.qkv.weight"] = f"{BLOCK}.{index}.attn.qkv.weight"
        if index in SOFT:
            moe = f"{BLOCK}.{index}.mlp_moe.moe"
            theirs |= {f"{block}.router.{kind}_embedding": f"{moe}.{kind}_embed" for kind in ("vision", "text")}
            theirs[f"{block}.router.gate.weight"] = f"{moe}.gate.wg.weight"
    experts = {name for name in ours if ".experts." in name}
    assert ours.keys() - experts == theirs.keys()
    assert [name for name, key in theirs.items() if not same(ours[name], state[key])] == []
    assert sum(value.numel() for value in state.values() if value.is_floating_point()) == model.num_parameters()


@torch.no_grad()
def test_every_expert_computes_what_the_official_one_does(state):
    model = convert(state, CONFIG, "backbone").model
    rows = torch.randn(EXPERTS, D)
    for index in SOFT:
        ours = model.blocks[index].router.experts(rows, torch.ones(EXPERTS, dtype=torch.long))
        for expert in range(EXPERTS):
            name = f"{BLOCK}.{index}.mlp_moe.moe.experts.experts.{expert}"
            weights = {part: (state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"]) for part in ("fc1", "fc2")}
            inner = F.linear(rows[expert], *weights["fc1"])
            theirs = F.linear(inner * torch.sigmoid(1.702 * inner), *weights["fc2"])
            torch.testing.assert_close(ours[expert], theirs, rtol=1e-4, atol=1e-4)


def test_config_and_weights_become_our_configuration(state):
    config = convert(state, CONFIG, "vqa", official_routing=True, capacity_factor=1.5).model.config
    assert config.ffn_types == ["hard", "soft", "hard", "soft", "hard"]
    sizes = (config.image_size, config.patch_size, config.max_text_length, config.vocab_size, config.num_labels)
    assert sizes == (48, 16, 196, 97, ANSWERS)
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (D, INNER, 4)
    assert (config.num_experts, config.num_experts_per_token, config.modality_routing) == (EXPERTS, 2, True)
    assert (config.hidden_act, config.drop_path_rate, config.task) == ("quick_gelu", 0.2, "vqa")
    assert (config.official_routing, config.capacity_factor) == (True, 1.5)


def test_what_the_config_lacks_the_weights_show(state):
    bare = {key: CONFIG[key] for key in ("num_attention_heads", "hidden_act")}
    full, shown = (convert(state, config, "vqa").model.config for config in (CONFIG, bare))
    assert shown.drop_path_rate == 0.0  # the official code's default
    shown.drop_path_rate = 0.2
    assert shown.to_dict() == full.to_dict()


def test_a_router_without_modality_embeddings(state):
    plain = {key: value for key, value in state.items() if not key.endswith(("vision_embed", "text_embed"))}
    blind = {**CONFIG, "moe_param": {"num_experts": EXPERTS, "topk": 2}}
    assert not convert(plain, blind, "vqa").model.config.modality_routing
    assert "moe_param.type_route is True in the config, and False in the weights" in refusal(plain)


@pytest.mark.parametrize(("head", "kind"), [(HEADS["nlvr2"], "plain"), (BI_ATTENTION, "bi_attention")])
def test_the_visual_reasoning_head_is_recognised_from_its_keys(head, kind):
    state = official(head)
    model = convert(state, CONFIG, "nlvr2").model
    assert model.config.visual_reasoning_head == kind
    assert model.config.task == "nlvr2"
    names = {"plain": ("output", "output.3"), "bi_attention": ("output", "nlvr2_output")}[kind]
    assert same(getattr(model.head, names[0]).weight, state[f"{names[1]}.weight"])
    if kind == "bi_attention":
        assert same(model.head.left_to_right.in_proj_weight, state["attn1.in_proj_weight"])
        assert same(model.head.right_to_left.in_proj_weight, state["attn2.in_proj_weight"])
        assert same(model.head.fuse.weight, state["fc.0.weight"])
        assert same(model.head.pool.weight, state["attn_pool.fc.0.weight"])


def test_the_retrieval_head():
    state = official(HEADS["retrieval"])
    alignment = convert(state, CONFIG, "retrieval").model.alignment
    assert same(alignment.temperature, state["itc_temp"])
    assert same(alignment.vision_projection.weight, state["itc_vision_proj_head.weight"])
    assert same(alignment.text_projection.weight, state["itc_text_proj_head.weight"])
    assert same(alignment.matching_head.weight, state["itm_head.weight"])


@pytest.mark.parametrize("head", [*HEADS.values(), BI_ATTENTION, {"mitc_temp": (), "mim_decoder.0.weight": (3, 4)}])
def test_the_encoder_is_taken_out_of_any_checkpoint_and_what_is_ignored_is_told(head):
    state = official(head) | {"backbone.mask_embed_vision": torch.randn(D)}
    conversion = convert(state, CONFIG, "backbone")
    buffers = ["backbone.position_ids_vision", "backbone.position_ids_text", "backbone.mask_embed_vision"]
    assert sorted(conversion.ignored) == sorted([*head, *buffers])
    assert same(conversion.model.norm.weight, state["backbone.norm.weight"])
    assert not hasattr(conversion.model.config, "task")


def test_half_precision_becomes_float32_and_the_given_tensors_stay_their_owners(state):
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    model = convert(half, CONFIG, "vqa").model
    assert same(model.backbone.norm.weight, half["backbone.norm.weight"].float())
    whole = convert(state, CONFIG, "vqa").model
    with torch.no_grad():
        whole.backbone.norm.weight.zero_()
    assert state["backbone.norm.weight"].any()


def test_positions_are_interpolated_on_request(state):
    model = convert(state, CONFIG, "vqa", image_size=80).model
    table = state["backbone.pos_embed_vision"]
    assert model.config.image_size == 80
    assert same(model.backbone.vision_embeddings.position_embeddings, interpolate_positions(table, 5, 5))
    assert same(model.backbone.vision_embeddings.position_embeddings[0], table[0])


@pytest.mark.parametrize("size", [0, 8, 50])
def test_pictures_that_do_not_divide_into_patches_are_refused(state, size):
    assert f"pictures of {size} px do not divide into patches of 16 px" in refusal(state, image_size=size)


def test_answers_name_the_rows_of_the_head(state):
    answers = [f"answer {number}" for number in range(ANSWERS)]
    config = convert(state, CONFIG, "vqa", answers=answers).model.config
    assert config.id2label == dict(enumerate(answers))
    assert config.label2id["answer 3"] == 3


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["yes", "no"], "2 answers, and the head .* has 7 rows"),
        (["yes"] * ANSWERS, "different"),
        ([1] * ANSWERS, "texts"),
    ],
)
def test_other_answers_are_refused(state, answers, said):
    with pytest.raises(UserError, match=said):
        convert(state, CONFIG, "vqa", answers=answers)


def test_answers_of_another_task_are_refused():
    assert "no answers for nlvr2" in refusal(official(HEADS["nlvr2"]), "nlvr2", answers=["true", "false"])


def test_all_problems_are_named_in_one_sentence(state):
    del state["backbone.norm.bias"]
    state["backbone.encoder.layers.0.attn.k_bias"] = torch.zeros(D)
    state["output.0.bias"] = torch.zeros(3)
    state["backbone.word_embedding.weight"][5, 5] = float("nan")
    state["backbone.encoder.layers.4.gamma_1"] = torch.ones(D, dtype=torch.long)
    said = refusal(state, config={**CONFIG, "vocab_size": 98})
    assert "vocab_size is 98 in the config, and 97 in the weights (backbone.word_embedding.weight)" in said
    assert "missing keys: backbone.norm.bias" in said
    assert "left-over keys: backbone.encoder.layers.0.attn.k_bias" in said
    assert f"wrong shapes: output.0.bias (3,) instead of ({2 * D},)" in said
    assert "NaN or infinite values: backbone.word_embedding.weight" in said
    assert "not floating point: backbone.encoder.layers.4.gamma_1" in said


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.ones(D).to_sparse(), "no plain tensors"),
        (torch.ones(D, device="meta"), "no plain tensors"),
        (torch.full((D,), 1e300, dtype=torch.float64), "NaN or infinite values"),
    ],
)
def test_tensors_of_unusual_kinds_are_named(state, value, kind):
    assert f"{kind}: backbone.norm.bias" in refusal(state | {"backbone.norm.bias": value})


def test_eight_bits_become_float32(state):
    eight = torch.ones(D).to(torch.float8_e4m3fn)
    model = convert(state | {"backbone.norm.bias": eight}, CONFIG, "vqa").model
    assert same(model.backbone.norm.bias, torch.ones(D))


def test_a_head_without_rows_is_refused(state):
    empty = {"output.3.weight": state["output.3.weight"][:0], "output.3.bias": state["output.3.bias"][:0]}
    assert "output.3.weight) has no rows" in refusal(state | empty)


ONE_OF_EACH_KIND = [key for key in backbone() | HEADS["vqa"] if not re.search(r"layers\.[2-4]|experts\.[1-5]", key)]


@pytest.mark.parametrize("key", ONE_OF_EACH_KIND)
def test_no_key_may_be_missing_or_misshapen(state, key):
    shape = tuple(state[key].shape)
    assert key in refusal({name: value for name, value in state.items() if name != key})
    said = refusal(state | {key: torch.zeros(*shape, 2)})
    assert f"{key} {(*shape, 2)} instead of {shape}" in said


def test_long_lists_are_cut(state):
    for name in [name for name in state if ".gamma_" in name]:
        del state[name]
    said = refusal(state)
    assert "layers.3.gamma_2 and 2 more" in said
    assert "layers.4.gamma_1" not in said


@pytest.mark.parametrize(
    ("key", "value", "weights"),
    [
        ("vision_width", 48, D),
        ("patch_size", 8, 16),
        ("intermediate_size", 81, INNER),
        ("num_hidden_layers", 4, 5),
        ("vocab_size", 64000, 97),
        ("moeffn_layers", [3, 4], [1, 3]),
        ("moe_param", {"num_experts": 32, "topk": 2, "type_route": True}, EXPERTS),
        ("moe_param", {"num_experts": EXPERTS, "topk": 2, "type_route": False}, True),
        ("texts", {"max_tokens": 40}, 196),
    ],
)
def test_config_and_weights_have_to_agree(state, key, value, weights):
    said = refusal(state, config={**CONFIG, key: value})
    assert key in said
    assert f"in the config, and {weights} in the weights" in said
    assert "wrong shapes" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("relative_position_embed", True),
        ("ffn_type", "vl"),
        ("single_ffn", {"type": "single"}),
        ("moe_param", {"num_experts": EXPERTS, "topk": 1, "type_route": True}),
        ("hidden_act", "relu"),
        ("hidden_act", None),
        ("num_attention_heads", None),
        ("num_attention_heads", 7),
        ("num_attention_heads", "4"),
        ("moeffn_layers", "1,3"),
        ("drop_path_rate", 1.5),
    ],
)
def test_networks_that_do_not_exist_here_are_refused_by_name(state, key, value):
    said = refusal(state, config={**CONFIG, key: value})
    assert (key if key != "moe_param" else "topk") in said


def test_other_feed_forward_networks_are_refused_by_name(state):
    for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
        state[f"{BLOCK}.2.mlp_vl.{name}"] = state[f"{BLOCK}.2.mlp_imag.{name}"]
    assert "encoder.layers.2 has mlp_imag, mlp_text, mlp_vl" in refusal(state)


def test_a_position_table_of_no_square_picture_is_refused(state):
    state["backbone.pos_embed_vision"] = torch.zeros(12, D)
    assert "backbone.pos_embed_vision has 12 rows" in refusal(state)


@pytest.mark.parametrize(("head", "task"), [("vqa", "nlvr2"), ("nlvr2", "vqa"), ("retrieval", "vqa")])
def test_a_checkpoint_of_another_task_is_refused(head, task):
    said = refusal(official(HEADS[head]), task)
    assert "output.0.weight" in said
    assert "itc_temp" in said or head != "retrieval"


def test_an_unknown_task_is_refused(state):
    assert "vqa, nlvr2, retrieval, backbone" in refusal(state, "captioning")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_what_torch_saved_is_read_with_or_without_its_wrapping(tmp_path, suffix, wrapped, prefix):
    state = {f"{prefix}backbone.norm.weight": torch.randn(3)}
    path = tmp_path / f"checkpoint{suffix}"
    torch.save({"model": state, "epoch": 3} if wrapped else state, path)
    read = read_checkpoint(path)
    assert list(read) == ["backbone.norm.weight"]
    assert torch.equal(read["backbone.norm.weight"], state[f"{prefix}backbone.norm.weight"])


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model.module.", "model.model."])
def test_safetensors_are_read_with_or_without_a_prefix(tmp_path, prefix):
    weights = {"backbone.norm.weight": torch.randn(3), "itc_temp": torch.tensor(0.07)}
    save_file({prefix + key: value for key, value in weights.items()}, tmp_path / "model.safetensors")
    read = read_checkpoint(tmp_path / "model.safetensors")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_the_format_before_zip_is_read(tmp_path):
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "old.pth")["a"], torch.ones(2))


class Intruder:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, zipped):
    content = {"model": {"a": torch.ones(2)}, "args": Intruder(tmp_path / "made")}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"mkdir.*could run any code"):
        read_checkpoint(tmp_path / "bad.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.95])
def test_half_a_file_is_refused(tmp_path, suffix, part):
    path = tmp_path / f"half{suffix}"
    weights = {"a": torch.ones(1000)}
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="is broken"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [{}, {"model": {}}, [torch.ones(2)], torch.ones(2), {"a": 3}, {"model": {"a": "b"}}]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth holds"):
        read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("content", [b"<html>", b"not a checkpoint", pickle.dumps({"a": 1}, protocol=2)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pth is (broken|no checkpoint)"):
        read_checkpoint(tmp_path / "other.pth")


def test_missing_files_and_other_suffixes_are_refused(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"")
    for name, said in (("weights.npz", r"none of \.pth"), ("absent.pth", "does not exist"), ("", "is a folder")):
        with pytest.raises(UserError, match=said):
            read_checkpoint(tmp_path / name)
