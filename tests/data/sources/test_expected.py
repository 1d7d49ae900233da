"""Counts that differ from the published ones are told."""

import pytest

from eve_core.data.records import KIND_OF_SET
from eve_core.data.sources.expected import unexpected_counts


@pytest.mark.parametrize(
    ("set_name", "counts"),
    [
        ("coco_captions", {"train": 414_113, "val": 202_654}),
        ("coco_captions", {"train": 566_747, "val": 25_010, "test": 25_010}),
        ("vqa_v2", {"train": 443_757, "val": 214_354, "test": 447_793}),
        ("vqa_v2", {"test": 107_394}),
        ("nlvr2", {"dev": 6_982}),
        ("flickr8k", {"train": 40_460}),
        ("flickr8k", {"unlisted": 460}),
    ],
)
def test_whole_splits_need_no_words(set_name: str, counts: dict[str, int]) -> None:
    assert unexpected_counts(set_name, counts) == []


def test_a_part_and_a_surplus_are_told() -> None:
    assert unexpected_counts("nlvr2", {"train": 86_373, "dev": 6_983}) == ["nlvr2 dev: 6,983 of 6,982 statements"]
    assert unexpected_counts("coco_captions", {"test": 5}) == [
        "coco_captions test: 5 of 25,010 captions of 5,000 pictures (Karpathy)"
    ]


def test_every_set_has_known_sizes() -> None:
    assert all(unexpected_counts(name, {"train": 1}) for name in KIND_OF_SET)
