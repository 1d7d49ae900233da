"""The encoder: its size, what its outputs depend on and what not, and what it refuses."""

import pytest
import torch

from eve_core.model import EveConfig, EveModel, attention

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def model(config):
    return EveModel(config).eval()


@pytest.mark.parametrize(("size", "parameters"), [("base", 475_197_696), ("large", 1_326_101_504)])
def test_named_sizes_have_as_many_parameters_as_the_official_backbones(size, parameters):
    with torch.device("meta"):
        model = EveModel(EveConfig.named(size))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch_mates(model, pairs):
    batch = pairs(3)
    together = model(**batch)
    for row in range(3):
        alone = model(**{name: values[row : row + 1] for name, values in batch.items()})
        real = batch["attention_mask"][row].bool()
        torch.testing.assert_close(together.vision_hidden_state[row], alone.vision_hidden_state[0], **CLOSE)
        torch.testing.assert_close(together.text_hidden_state[row][real], alone.text_hidden_state[0][real], **CLOSE)


@torch.no_grad()
def test_padding_changes_neither_outputs_nor_the_load_balance_loss_nor_the_load(model, pairs):
    row = {name: values[2:3] for name, values in pairs(3).items()}
    bare = model(row["pixel_values"], row["input_ids"][:, :3])
    row["input_ids"][:, 3:] = 7  # what stands in the padding must not matter either
    padded = model(**row)
    torch.testing.assert_close(padded.vision_hidden_state, bare.vision_hidden_state, **CLOSE)
    torch.testing.assert_close(padded.text_hidden_state[:, :3], bare.text_hidden_state, **CLOSE)
    torch.testing.assert_close(padded.load_balance_loss, bare.load_balance_loss)
    for with_padding, without in zip(padded.routing, bare.routing, strict=True):
        torch.testing.assert_close(with_padding.text_load, without.text_load)
        torch.testing.assert_close(with_padding.vision_load, without.vision_load)


@torch.no_grad()
def test_patches_keep_their_positions_in_whatever_order_they_are_given(model, pairs):
    batch = pairs(2)
    order = torch.stack([torch.randperm(16), torch.randperm(16)])
    straight = model(**batch)
    shuffled = model(**batch, visible_patches=order)
    rows = torch.arange(2)[:, None]
    torch.testing.assert_close(
        shuffled.vision_hidden_state[:, 1:], straight.vision_hidden_state[:, 1:][rows, order], **CLOSE
    )
    torch.testing.assert_close(shuffled.vision_hidden_state[:, 0], straight.vision_hidden_state[:, 0], **CLOSE)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(shuffled.text_hidden_state[real], straight.text_hidden_state[real], **CLOSE)


@torch.no_grad()
def test_patches_that_are_not_visible_do_not_matter(model, pairs):
    batch = pairs(1)
    visible = torch.tensor([[0, 5, 10]])
    before = model(**batch, visible_patches=visible).vision_hidden_state
    batch["pixel_values"][:, :, 24:, 24:] = 9.0  # patch 15
    after = model(**batch, visible_patches=visible).vision_hidden_state
    assert before.shape == (1, 4, 32)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@torch.no_grad()
def test_a_text_alone_a_picture_alone_and_both(model, pairs):
    batch = pairs(2)
    picture = model(pixel_values=batch["pixel_values"])
    text = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    both = model(**batch)
    assert picture.vision_hidden_state.shape == both.vision_hidden_state.shape == (2, 17, 32)
    assert text.text_hidden_state.shape == both.text_hidden_state.shape == (2, 8, 32)
    assert picture.text_hidden_state is None
    assert text.vision_hidden_state is None
    assert not torch.allclose(picture.vision_hidden_state, both.vision_hidden_state)  # attention crosses modalities


@torch.no_grad()
def test_short_and_long_sequences_take_different_attention_kernels_with_equal_results(model, pairs, monkeypatch):
    batch = pairs(3)
    explicit = model(**batch)
    monkeypatch.setattr(attention, "_SHORT_ON_CPU", 0)
    fused = model(**batch)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(fused.vision_hidden_state, explicit.vision_hidden_state, **CLOSE)
    torch.testing.assert_close(fused.text_hidden_state[real], explicit.text_hidden_state[real], **CLOSE)


@torch.no_grad()
def test_evaluation_is_deterministic_and_training_is_not(config, pairs):
    config.drop_path_rate = 0.5
    model = EveModel(config)
    batch = pairs(3)
    model.eval()
    assert torch.equal(model(**batch).vision_hidden_state, model(**batch).vision_hidden_state)
    model.train()
    assert not torch.equal(model(**batch).vision_hidden_state, model(**batch).vision_hidden_state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": torch.zeros(2, 3, 44, 32)}, r"pixel_values.*\(2, 3, 44, 32\).*multiples of the patch size 8"),
        ({"pixel_values": torch.zeros(2, 3, 0, 32)}, r"pixel_values.*\(2, 3, 0, 32\)"),
        ({"pixel_values": torch.zeros(3, 32, 32)}, r"pixel_values.*\(3, 32, 32\).*\(batch, 3, height, width\)"),
        ({"pixel_values": torch.full((2, 3, 32, 32), float("nan"))}, r"pixel_values.*\(2, 3, 32, 32\) holds NaN"),
        ({"pixel_values": torch.zeros(2, 1, 32, 32)}, r"\(2, 1, 32, 32\)"),
        ({"pixel_values": torch.zeros(0, 3, 32, 32)}, r"\(0, 3, 32, 32\)"),
        ({"pixel_values": torch.zeros(2, 3, 32, 32).byte()}, r"pixel_values.*torch.uint8.*floating-point pixels"),
        ({"input_ids": torch.ones(2, 8)}, r"input_ids.*\(2, 8\) are torch.float32.*int64 or int32"),
        ({"pixel_values": torch.zeros(3, 3, 32, 32)}, "3 pictures and input_ids 2 texts"),
        ({"visible_patches": torch.zeros(1, 4).long()}, r"visible_patches.*\(1, 4\).*\(2, 1 to 16\)"),
        ({"visible_patches": torch.full((2, 4), 16)}, "visible_patches.*outside the picture's patches, 0 to 15"),
        ({"input_ids": torch.ones(2, 13).long(), "attention_mask": None}, r"input_ids.*\(2, 13\).*at most 12"),
        ({"input_ids": torch.full((2, 8), 60)}, "input_ids.*outside the vocabulary, 0 to 59"),
        ({"input_ids": torch.full((2, 8), -1)}, "input_ids.*outside the vocabulary"),
        ({"attention_mask": torch.tensor([[1] * 8, [0] * 8])}, r"attention_mask.*\(2, 8\) has rows without a token"),
        ({"attention_mask": torch.tensor([[1] * 8, [0] + [1] * 7])}, r"attention_mask.*\(2, 8\) starts with padding"),
        ({"attention_mask": torch.full((2, 8), -torch.inf).tril(-9)}, "attention_mask.*(starts with|without a token)"),
        ({"visible_patches": torch.zeros(2, 4)}, r"visible_patches.*\(2, 4\) are torch.float32; give int64"),
        ({"masked_patches": torch.zeros(2, 4).long()}, "masked_patches are for a model with mask_tokens_in_encoder"),
        ({"input_ids": torch.ones(8).long(), "attention_mask": None}, r"\(8,\).*\(batch, length\)"),
        ({"attention_mask": torch.ones(2, 7)}, r"attention_mask.*\(2, 7\).*\(2, 8\)"),
        ({"pixel_values": None, "input_ids": None}, "pixel_values, input_ids or both"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_their_shape(model, pairs, change, message):
    with pytest.raises(ValueError, match=message):
        model(**{**pairs(2), **change})


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_pixels_of_another_precision_are_taken(model, pairs, dtype):
    batch = pairs(2)
    expected = model(**batch).vision_hidden_state
    batch["pixel_values"] = batch["pixel_values"].to(dtype)
    torch.testing.assert_close(model(**batch).vision_hidden_state, expected, rtol=0.05, atol=0.05)


@torch.no_grad()
@pytest.mark.parametrize("size", [(48, 48), (32, 48), (8, 8)])
def test_pictures_of_other_sizes_get_interpolated_positions(model, pairs, size):
    batch = pairs(2)
    batch["pixel_values"] = torch.randn(2, 3, *size)
    assert model(**batch).vision_hidden_state.shape == (2, 1 + size[0] * size[1] // 64, 32)


@torch.no_grad()
def test_resizing_for_good_equals_interpolating_on_the_way(model, pairs, tmp_path):
    batch = pairs(2)
    batch["pixel_values"] = torch.randn(2, 3, 48, 48)
    before = model(**batch).vision_hidden_state
    class_row = model.vision_embeddings.position_embeddings[0].clone()
    model.resize_images(48)
    assert torch.equal(model.vision_embeddings.position_embeddings[0], class_row)
    model.save_pretrained(tmp_path)
    loaded = EveModel.from_pretrained(tmp_path).eval()
    assert loaded.config.image_size == 48
    torch.testing.assert_close(loaded(**batch).vision_hidden_state, before, **CLOSE)
    for wrong in (50, 0, -8):
        with pytest.raises(ValueError, match=f"image_size {wrong} is no multiple of patch_size 8"):
            model.resize_images(wrong)


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {"ffn_types": ["soft", "hard", "shared"]},
        {"embedding_norms": False},
        {"hidden_act": "gelu"},
        {"modality_routing": False},
    ],
)
def test_every_option_changes_what_is_computed_and_survives_saving(config, pairs, tmp_path, fields):
    torch.manual_seed(0)
    model = EveModel(EveConfig(**{**config.to_dict(), "ffn_types": None, "num_soft_router_layers": 2, **fields})).eval()
    model.save_pretrained(tmp_path)
    batch = pairs(2)
    output = model(**batch).vision_hidden_state
    assert torch.equal(EveModel.from_pretrained(tmp_path).eval()(**batch).vision_hidden_state, output)
    torch.manual_seed(0)
    assert not torch.allclose(EveModel(config).eval()(**batch).vision_hidden_state, output)


def test_half_precision_stays_close_to_full(model, pairs):
    batch = pairs(3)
    full = model(**batch).vision_hidden_state
    with torch.autocast("cpu", torch.bfloat16):
        half = model(**batch).vision_hidden_state
    assert float((half - full).detach().norm() / full.detach().norm()) < 0.05


def test_without_modality_norms_both_share_one(config):
    config.modality_norms = False
    names = {name for name, _ in EveModel(config).blocks[0].router.norms.named_parameters()}
    assert names == {"both.weight", "both.bias"}
