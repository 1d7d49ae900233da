"""Masked signal modelling: what is masked, and what the loss is made of."""

from collections import Counter

import numpy as np
import pytest
import torch

from eve_core.config import Split, TokenizerConfig
from eve_core.data.collation import Collator
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.schedule import ShuffledEpochs
from eve_core.data.selection import split_rows, texts_of
from eve_core.data.tokenizer import train_tokenizer
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.objectives import LOAD_BALANCE_WEIGHT, MaskedPairs, masked_signal_modeling
from eve_core.objectives.masked_signal_modeling import patch_targets

SIZES = {
    "image_size": 32,
    "patch_size": 8,
    "max_text_length": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_soft_router_layers": 1,
    "num_experts": 4,
    "decoder_num_layers": 1,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def captions(prepared):
    return split_rows(prepared, Split(set="flickr8k", splits=["train"]))


@pytest.fixture(scope="module")
def preprocessor(captions):
    return Preprocessor(train_tokenizer(texts_of(captions), TokenizerConfig(vocab_size=300), 24), 32, 24)


@pytest.fixture(scope="module")
def pairs(captions, prepared, preprocessor):
    return MaskedPairs(captions, prepared.images, preprocessor, 16, image_mask_ratio=0.75, text_mask_ratio=0.5)


@pytest.fixture
def batch(pairs, preprocessor):
    examples = [pairs.example(index, np.random.default_rng(index)) for index in range(0, len(pairs), 6)]
    return Collator(preprocessor.tokenizer.pad_token_id)(examples)


@pytest.fixture
def model(preprocessor):
    torch.manual_seed(0)
    return EveForPreTraining(EveConfig(**SIZES, vocab_size=len(preprocessor.tokenizer))).eval()


def test_exactly_the_share_is_masked_and_never_a_special_token(pairs, preprocessor):
    tokenizer = preprocessor.tokenizer
    for index in range(len(pairs)):
        example = pairs.example(index, np.random.default_rng(index))
        ids, mask = example["input_ids"], example["token_mask"]
        words = ~np.isin(ids, tokenizer.all_special_ids)
        assert words.sum() == len(ids) - 2  # all but [CLS] and [SEP]
        assert mask.sum() == round(0.5 * words.sum())
        assert not (mask & ~words).any()
        assert (example["masked_input_ids"][mask] == tokenizer.mask_token_id).all()
        assert (example["masked_input_ids"][~mask] == ids[~mask]).all()
        assert len(example["masked_patches"]) == 12
        assert sorted([*example["visible_patches"], *example["masked_patches"]]) == list(range(16))


def test_padding_is_never_masked(batch):
    assert batch["attention_mask"].min() == 0  # the texts differ in length
    assert not (batch["token_mask"] & ~batch["attention_mask"].bool()).any()


def test_masks_follow_from_seed_epoch_and_index_alone(pairs):
    def masks(seed: int, position: int) -> tuple[list[int], list[bool]]:
        example = ShuffledEpochs(len(pairs), 3 * len(pairs), seed, pairs.example)[position]
        return example["masked_patches"].tolist(), example["token_mask"].tolist()

    positions = [*range(6), *range(len(pairs), len(pairs) + 6)]
    once = [masks(1, position) for position in positions]
    assert [masks(1, position) for position in reversed(positions)][::-1] == once
    assert [masks(2, position) for position in positions] != once
    assert max(Counter(str(patches) for patches, _ in once).values()) == 1


def test_the_loss_is_the_sum_of_its_parts_by_hand(model, batch):
    with torch.no_grad():
        losses = masked_signal_modeling(model, batch)
        output = model(**batch)
    mlm, row = [], 0
    for sample, place in batch["token_mask"].nonzero().tolist():
        mlm.append(-output.token_logits[row].log_softmax(-1)[batch["input_ids"][sample, place]])
        row += 1
    assert row == len(output.token_logits)
    mim = []
    for sample in range(len(batch["pixel_values"])):
        for place, patch in enumerate(batch["masked_patches"][sample].tolist()):
            y, x = 8 * (patch // 4), 8 * (patch % 4)
            target = batch["pixel_values"][sample, :, y : y + 8, x : x + 8].permute(1, 2, 0).flatten()
            mim.append(((output.patch_predictions[sample, place] - target) ** 2).mean())
    torch.testing.assert_close(losses.parts["mlm"], torch.stack(mlm).mean())
    torch.testing.assert_close(losses.parts["mim"], torch.stack(mim).mean())
    torch.testing.assert_close(losses.parts["load_balance"], output.load_balance_loss)
    assert LOAD_BALANCE_WEIGHT == 0.001
    by_hand = losses.parts["mlm"] + losses.parts["mim"] + 0.001 * losses.parts["load_balance"]
    torch.testing.assert_close(losses.total, by_hand)


def test_normalised_targets_have_neither_mean_nor_scale(model, batch):
    model.config.normalize_pixel_targets = True
    batch["pixel_values"] = torch.randn_like(batch["pixel_values"])
    with torch.no_grad():
        plain = masked_signal_modeling(model, batch).parts["mim"]
        brighter = {**batch, "pixel_values": 0.5 * batch["pixel_values"] + 0.2}
        predictions = model(**batch).patch_predictions
        targets = patch_targets(brighter["pixel_values"], batch["masked_patches"], 8)
    targets = (targets - targets.mean(-1, keepdim=True)) / (targets.var(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(plain, ((predictions - targets) ** 2).mean(), rtol=1e-3, atol=1e-4)


def test_patch_targets_are_the_pixels_of_the_masked_patches():
    pictures = torch.arange(2 * 3 * 16 * 16).float().view(2, 3, 16, 16)
    targets = patch_targets(pictures, torch.tensor([[3, 0], [1, 2]]), 8)
    assert targets.shape == (2, 2, 192)
    assert torch.equal(targets[0, 0], pictures[0, :, 8:, 8:].permute(1, 2, 0).flatten())
    assert torch.equal(targets[1, 0], pictures[1, :, :8, 8:].permute(1, 2, 0).flatten())


def test_both_passes_learn(model, batch):
    losses = masked_signal_modeling(model, batch)
    losses.total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert model.pixel_decoder.prediction.weight.grad.abs().sum() > 0
    assert model.token_predictor.output.weight.grad.abs().sum() > 0
