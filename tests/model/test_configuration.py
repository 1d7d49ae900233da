"""The configuration refuses impossible sizes and finds its named ones."""

import pytest

from eve_core.model import EveConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 225}, "image_size 225.*patch_size 16"),
        ({"hidden_size": 770}, "hidden_size 770.*num_attention_heads 12"),
        ({"decoder_hidden_size": 500}, "decoder_hidden_size 500.*decoder_num_attention_heads 6"),
        ({"num_soft_router_layers": 13}, "num_soft_router_layers 13.*0 and 12"),
        ({"num_experts_per_token": 33}, "num_experts_per_token 33.*num_experts 32"),
        ({"num_experts_per_token": 0}, "num_experts_per_token 0"),
        ({"ffn_types": ["hard"] * 11}, "ffn_types .* is not 12 times hard, soft or shared"),
        ({"ffn_types": ["hard"] * 11 + ["firm"]}, "ffn_types .*firm"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not one of quick_gelu, gelu"),
        ({"official_routing": True, "num_experts_per_token": 1}, "official_routing knows 2 experts .*, not .* 1"),
        ({"second_expert_noise": True, "num_experts_per_token": 3}, "second_expert_noise knows 2 experts"),
        ({"experts_backend": "loop", "hidden_act": "gelu"}, "loop knows quick_gelu only, not hidden_act gelu"),
        ({"pretraining_tasks": ["mlm", "itm"]}, "itm without itc"),
        ({"num_attention_heads": 0}, "num_attention_heads 0 is not a whole number of 1 or more"),
        ({"patch_size": 0}, "patch_size 0 is not"),
        ({"image_size": 0}, "image_size 0 is not"),
        ({"max_text_length": 0.5}, r"max_text_length 0\.5 is not"),
        ({"decoder_num_layers": -1}, "decoder_num_layers -1 is below 0"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate 1\.0 is not from 0 to below 1"),
        ({"text_dropout": 2.0}, r"text_dropout 2\.0 is not from 0 to below 1"),
        ({"temperature_init": 0.0}, r"temperature_init 0\.0 is not above 0"),
        ({"pretraining_tasks": ["mlm"], "joint_masking": True}, "joint_masking needs mlm and mim"),
        ({"pretraining_tasks": ["mlm"], "mask_tokens_in_encoder": True}, "mask_tokens_in_encoder needs mim"),
    ],
)
def test_impossible_sizes_are_refused_by_name_and_value(fields, message):
    with pytest.raises(ValueError, match=message):
        EveConfig(**fields)


def test_named_sizes_take_overrides():
    config = EveConfig.named("tiny", num_experts=5, num_hidden_layers=3)
    assert (config.hidden_size, config.num_experts, config.num_hidden_layers) == (128, 5, 3)
    assert EveConfig.named("tiny", num_labels=5).num_labels == 5


def test_an_unknown_size_or_field_is_refused():
    with pytest.raises(ValueError, match=r"unknown size huge.*tiny, base, large"):
        EveConfig.named("huge")
    with pytest.raises(ValueError, match="no field hiden_size"):
        EveConfig.named("tiny", hiden_size=64)


def test_saved_and_loaded_again_it_is_the_same(tmp_path):
    config = EveConfig.named("tiny", drop_path_rate=0.25, id2label={0: "no", 1: "yes"})
    config.save_pretrained(tmp_path)
    assert EveConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
