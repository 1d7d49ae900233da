"""Pairs for pre-training: what is masked, and that an example holds what the tasks need and no more."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from eve_core.config.training import AugmentationConfig
from eve_core.data.schedule import ShuffledEpochs
from eve_core.errors import UserError

ALWAYS = {"pixel_values", "input_ids", "attention_mask"}
NEEDED = {
    "mim": {"visible_patches", "masked_patches"},
    "mlm": {"masked_input_ids", "token_mask"},
    "itc": {"image_ids"},
    "itm": set(),
}


def test_exactly_the_share_is_masked_and_never_a_special_token(network, pairs_of, preprocessor):
    tokenizer, pairs = preprocessor.tokenizer, pairs_of(network())
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


def test_padding_is_never_masked(network, batch_of):
    batch = batch_of(network())
    assert batch["attention_mask"].min() == 0  # the texts differ in length
    assert not (batch["token_mask"] & ~batch["attention_mask"].bool()).any()


def test_masks_follow_from_seed_epoch_and_index_alone(network, pairs_of):
    pairs = pairs_of(network())

    def masks(seed: int, position: int) -> tuple[list[int], list[bool]]:
        example = ShuffledEpochs(pairs, 3 * len(pairs), seed)[position]
        return example["masked_patches"].tolist(), example["token_mask"].tolist()

    positions = [*range(6), *range(len(pairs), len(pairs) + 6)]
    once = [masks(1, position) for position in positions]
    assert [masks(1, position) for position in reversed(positions)][::-1] == once
    assert [masks(2, position) for position in positions] != once
    assert max(Counter(str(patches) for patches, _ in once).values()) == 1


def test_a_pair_is_masked_anew_every_epoch(network, pairs_of):
    pairs = pairs_of(network())
    epochs = ShuffledEpochs(pairs, 4 * len(pairs), 1)
    positions = [position for position in range(len(epochs)) if epochs.place(position)[1] == 0]
    masks = [epochs[position]["masked_patches"].tolist() for position in positions]
    assert len(masks) == 4
    assert len({str(mask) for mask in masks}) == 4


@pytest.mark.parametrize(("task", "mask"), [("mim", "masked_patches"), ("mlm", "token_mask")])
def test_a_mask_is_the_same_whatever_else_is_a_task(network, pairs_of, task, mask):
    task_sets = ([task], ["mlm", "mim"], ["mlm", "mim", "itc", "itm"])
    masks = [
        pairs_of(network(pretraining_tasks=tasks)).example(3, np.random.default_rng(3))[mask].tolist()
        for tasks in task_sets
    ]
    assert masks[0] == masks[1] == masks[2]


def test_masks_are_the_same_with_and_without_augmentation(network, pairs_of):
    plain, changed = pairs_of(network()), pairs_of(network())
    changed.augmentation = AugmentationConfig(rand_augment=(2, 7), color_jitter=0.4)
    for index in range(len(plain)):
        one, other = (pairs.example(index, np.random.default_rng(index)) for pairs in (plain, changed))
        assert one["masked_patches"].tolist() == other["masked_patches"].tolist()
        assert one["token_mask"].tolist() == other["token_mask"].tolist()
        assert not torch.equal(one["pixel_values"], other["pixel_values"])


@pytest.mark.parametrize("tasks", [["mlm"], ["mim"], ["itc"], ["mlm", "mim"], ["mlm", "itc", "itm"]])
def test_an_example_holds_what_its_tasks_need_and_no_more(network, pairs_of, tasks):
    example = pairs_of(network(pretraining_tasks=tasks)).example(0, np.random.default_rng(0))
    assert example.keys() == ALWAYS.union(*(NEEDED[task] for task in tasks))


def test_captions_of_one_picture_and_only_those_share_a_number(network, pairs_of, captions):
    model = network(pretraining_tasks=["itc"])
    pairs = pairs_of(model)
    numbers = [pairs.example(index, np.random.default_rng(index))["image_ids"] for index in range(len(pairs))]
    names = captions["image_id"].to_pylist()
    assert len(set(numbers)) == len(set(names)) == len(set(zip(numbers, names, strict=True)))
    assert len(set(names)) < len(names)
    assert pairs_of(model).example(0, np.random.default_rng(9))["image_ids"] == numbers[0]


def test_image_ids_are_int64(network, batch_of):
    ids = batch_of(network(pretraining_tasks=["itc"]))["image_ids"]
    assert str(ids.dtype) == "torch.int64"
    assert ids.dim() == 1


@pytest.mark.parametrize("caption", ["", "  ", "[SEP]"])
def test_a_caption_with_nothing_to_mask_is_named_with_its_picture(network, pairs_of, captions, caption):
    rows = pa.table({"image_id": captions["image_id"][:1], "caption": [caption]})
    image_id = captions["image_id"][0].as_py()
    with pytest.raises(UserError, match=rf"caption '.*' of picture {image_id} has no word to mask; .*prepare the data"):
        pairs_of(network(), rows=rows).example(0, np.random.default_rng(0))
    # Where words are not masked, it is as good as any other.
    assert pairs_of(network(pretraining_tasks=["mim"]), rows=rows).example(0, np.random.default_rng(0))
