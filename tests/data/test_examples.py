"""Training examples: the same batches whatever loads them, pictures that texts agree with, and rows without copies."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler, Subset

from eve_core.config import Split, TokenizerConfig
from eve_core.config.training import AugmentationConfig
from eve_core.data.collation import Collator
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.schedule import LengthBuckets, ShuffledEpochs
from eve_core.data.selection import split_rows, texts_of
from eve_core.data.tokenizer import train_tokenizer
from eve_core.data.transforms import to_pixels
from eve_core.tasks import get_task

EVERYTHING = AugmentationConfig(rand_augment=(2, 7), color_jitter=0.4)
MIRRORED = AugmentationConfig(crop_scale=(1.0, 1.0))
SETS = {"vqa": "vqa_v2", "nlvr2": "nlvr2", "retrieval": "flickr8k"}


@pytest.fixture(scope="module")
def preprocessor(prepared):
    texts = [text for name in SETS.values() for text in texts_of(training_rows(prepared, name))]
    return Preprocessor(train_tokenizer(texts, TokenizerConfig(vocab_size=320), 24), 16, 24)


@pytest.fixture
def examples_of(prepared, preprocessor):
    def build(task: str, augmentation: AugmentationConfig | None = EVERYTHING, rows: pa.Table | None = None):
        rows = training_rows(prepared, SETS[task]) if rows is None else rows
        labels = ["no", "red", "yes"] if task == "vqa" else None
        return get_task(task).examples(rows, prepared.images, preprocessor, labels, augmentation)

    return build


def training_rows(prepared, name: str) -> pa.Table:
    return split_rows(prepared, Split(set=name, splits=["train"]))


def batches(run, workers: int = 0) -> list[dict[str, torch.Tensor]]:
    collate = Collator(0, normalized=False)
    return list(DataLoader(run, 6, sampler=SequentialSampler(run), num_workers=workers, collate_fn=collate))


def assert_equal(some: list[dict[str, torch.Tensor]], others: list[dict[str, torch.Tensor]]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize("task", SETS)
def test_batches_are_the_same_for_any_number_of_workers_and_after_resuming_anywhere(examples_of, task):
    def run(examples):
        return ShuffledEpochs(examples, 60, 3, LengthBuckets(examples.count_tokens(), 6))

    whole = batches(run(examples_of(task)))
    assert len(whole) == 10
    for workers in (1, 4):
        assert_equal(batches(run(examples_of(task)), workers), whole)
    for step in (1, 4, 9):
        resumed = run(examples_of(task))
        assert_equal(batches(Subset(resumed, range(6 * step, 60))), whole[step:])


def test_one_example_alone_is_the_one_in_a_batch(examples_of):
    examples = examples_of("vqa")
    together = examples.make([3, 1, 3], [np.random.default_rng(n) for n in range(3)])
    alone = [examples.example(index, np.random.default_rng(n)) for n, index in enumerate([3, 1, 3])]
    for one, other in zip(together, alone, strict=True):
        assert one["input_ids"] == other["input_ids"]
        assert torch.equal(one["pixel_values"], other["pixel_values"])
        assert np.array_equal(one["labels"], other["labels"])
    assert not torch.equal(together[0]["pixel_values"], together[2]["pixel_values"])


@pytest.mark.parametrize("task", SETS)
def test_without_augmentation_pictures_are_those_of_evaluation(examples_of, prepared, preprocessor, task):
    example = examples_of(task, None).example(0, np.random.default_rng(0))
    row = training_rows(prepared, SETS[task]).slice(0, 1).to_pylist()[0]
    image_id = row.get("left_image_id") or row["image_id"]
    pixels = example["pixel_values"][0] if task == "nlvr2" else example["pixel_values"]
    if task != "vqa":  # its first rows may have no known answer
        assert torch.equal(pixels, to_pixels(preprocessor.picture(prepared.images[image_id])))
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.uint8


def mirrored(examples, draws: int = 40) -> float:
    """Share of views of example 0 that come out mirrored, of pictures that are `HalfWhite`."""
    count = 0
    for seed in range(draws):
        pixels = examples.example(0, np.random.default_rng(seed))["pixel_values"].float()
        sides = {bool(picture[..., :4].mean() > picture[..., -4:].mean()) for picture in pixels.reshape(-1, 3, 16, 16)}
        assert len(sides) == 1  # both pictures of a pair, or neither
        count += sides.pop()
    return count / draws


class HalfWhite(dict):
    """Any picture: the left half is black, the right half white."""

    def __missing__(self, image_id: str) -> bytes:
        from PIL import Image

        from tests.data.test_transforms import encoded

        picture = Image.new("RGB", (32, 32), "black")
        picture.paste("white", (16, 0, 32, 32))
        return encoded(picture)


@pytest.mark.parametrize("side", ["", " on the left", " on the RIGHT"])
@pytest.mark.parametrize("task", SETS)
def test_pictures_are_mirrored_unless_the_text_speaks_of_a_side(examples_of, task, side):
    rows = {
        "vqa": {"image_id": "a", "question": f"what is it{side}?", "answers": ["red"] * 10},
        "nlvr2": {
            **{"statement_id": "a-0-0", "left_image_id": "a", "right_image_id": "b", "split": "train"},
            **{"statement": f"there is a dog{side}", "label": True},
        },
        "retrieval": {"image_id": "a", "caption": f"a dog{side}"},
    }
    examples = examples_of(task, MIRRORED, pa.Table.from_pylist([rows[task]]))
    examples.images = HalfWhite()
    share = mirrored(examples)
    assert share == 0 if side else 0.25 < share < 0.75


def test_a_picture_is_not_mirrored_where_one_annotator_answers_with_a_side(examples_of):
    answers = ["red"] * 9 + ["on the left"]
    row = {"image_id": "a", "question": "where is it?", "answers": answers}
    examples = examples_of("vqa", MIRRORED, pa.Table.from_pylist([row]))
    examples.images = HalfWhite()
    assert mirrored(examples) == 0


@pytest.mark.parametrize("task", SETS)
def test_tokens_are_counted_as_they_will_be_read(examples_of, task, monkeypatch):
    monkeypatch.setattr("eve_core.data.examples._TEXTS_AT_ONCE", 7)
    examples = examples_of(task)
    counts = examples.count_tokens()
    assert len(counts) == len(examples)
    read = [len(examples.example(index, np.random.default_rng(0))["input_ids"]) for index in range(len(examples))]
    assert counts.tolist() == read


def test_rows_are_a_data_set_in_their_tables_memory(examples_of, prepared):
    import datasets

    rows = training_rows(prepared, "flickr8k")
    dataset = examples_of("retrieval", rows=rows).rows
    assert isinstance(dataset, datasets.Dataset)
    assert dataset.cache_files == []
    for ours, given in zip(dataset.data.column("caption").chunks, rows["caption"].chunks, strict=True):
        assert ours.buffers()[2].address == given.buffers()[2].address
