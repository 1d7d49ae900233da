"""What leaks is found, in whatever way, and nothing else; what is found does not depend on the order of anything."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from eve_core.data.leakage import WAYS, Leaks, SplitRows, evaluation_splits, find_leaks
from eve_core.data.perceptual_hash import DISTANCE, perceptual_hash
from eve_core.data.records import KIND_OF_SET, SCHEMAS
from eve_core.errors import UserError

_INFO = pa.schema([SCHEMAS["images"].field(name) for name in ("image_id", "sha256", "phash", "coco_id")])


def looks(number: int, flipped: int = 0) -> bytes:
    """The hash of picture `number`, or of a copy in which every eighth of the first bits differs, `flipped` in all."""
    value = np.random.default_rng(number).integers(0, 256, size=32, dtype=np.uint8)
    value[:flipped] ^= 1
    return value.tobytes()


def picture(image_id: str, number: int, coco_id: int | None = None, **other: Any) -> dict[str, Any]:
    return {"image_id": image_id, "sha256": f"file {number}", "phash": looks(number), "coco_id": coco_id, **other}


def rows(set_name: str, split: str, *values: tuple[Any, ...]) -> SplitRows:
    """Rows of (identifier, image_id or two, text)."""
    schema = SCHEMAS[KIND_OF_SET[set_name]]
    needed = {"captions": 3, "questions": 3, "statements": 4}[KIND_OF_SET[set_name]]
    records = [dict(zip(schema.names[:needed], value, strict=True)) for value in values]
    columns = [schema.field(name) for name in schema.names[:needed]]
    return SplitRows(set_name, split, pa.Table.from_pylist(records, pa.schema(columns)))


def leaks(pictures: Sequence[dict[str, Any]], *annotations: SplitRows, **options: Any) -> Leaks:
    return find_leaks(pa.Table.from_pylist(list(pictures), _INFO), annotations, **options)


def found(result: Leaks) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in result.rows.to_pylist()]


PICTURES = [
    picture("coco/1", 1, coco_id=1),
    picture("coco/2", 2, coco_id=2),
    picture("visual_genome/7", 7, coco_id=1),
    picture("visual_genome/8", 8, coco_id=3),
    picture("visual_genome/9", 9),
    picture("sbu/1", 1),
    picture("sbu/2", 12, phash=looks(1, flipped=3)),
    picture("sbu/3", 13),
    picture("flickr8k/1", 21),
    picture("flickr30k/1", 22, phash=looks(21, flipped=2)),
]
VAL = rows("vqa_v2", "val", (10, "coco/1", "what is it?"))


@pytest.mark.parametrize(
    ("training", "row_id", "way", "detail"),
    [
        (("coco_captions", "train", ("5", "coco/1", "a cat")), "5", "id", "coco/1 is also a picture of vqa_v2 val"),
        (("vqa_v2", "train", (4, "coco/1", "who?")), "4", "id", "coco/1 is also a picture of vqa_v2 val"),
        (
            ("visual_genome", "train", ("5", "visual_genome/7", "a cat")),
            "5",
            "coco_id",
            "visual_genome/7 is the COCO photograph coco/1 of vqa_v2 val",
        ),
        (("sbu", "train", ("5", "sbu/1", "a cat")), "5", "bytes", "sbu/1 is the same file as coco/1 of vqa_v2 val"),
        (
            ("sbu", "train", ("5", "sbu/2", "a cat")),
            "5",
            "looks",
            "sbu/2 looks like coco/1 of vqa_v2 val (3 of 256 bits differ)",
        ),
        (
            ("nlvr2", "train", ("train-1-0-0", "sbu/3", "sbu/1", "both are cats")),
            "train-1-0-0",
            "bytes",
            "sbu/1 is the same file as coco/1 of vqa_v2 val",
        ),
    ],
)
def test_a_training_row_with_an_evaluation_picture_leaks(training, row_id, way, detail):
    name, split, row = training
    result = leaks(PICTURES, VAL, rows(name, split, row))
    assert found(result) == [(name, split, row_id, "leaks_into_vqa_v2_val", detail)]
    assert result.counts.to_pylist() == [
        {"set": name, "evaluation_set": "vqa_v2", "evaluation_split": "val", "way": way, "rows": 1}
    ]


def test_rows_with_other_pictures_stay():
    captions = rows("coco_captions", "train", ("1", "coco/2", "what is it?"))
    regions = rows("visual_genome", "train", ("1", "visual_genome/8", "a"), ("2", "visual_genome/9", "what is it?"))
    web = rows("sbu", "train", ("3", "sbu/3", "a"))
    result = leaks(PICTURES, VAL, captions, regions, web)
    assert found(result) == []
    assert result.counts.num_rows == 0


def test_both_pictures_of_a_scored_pair_are_protected():
    dev = rows("nlvr2", "dev", ("dev-1-0-0", "sbu/3", "coco/2", "both are dogs"))
    result = leaks(PICTURES, dev, rows("sbu", "train", ("a", "sbu/3", "x"), ("b", "sbu/1", "y")))
    assert [row[2] for row in found(result)] == ["a"]


def test_pictures_that_say_nothing_do_not_match_by_looks():
    blank = {"phash": bytes(32)}
    pictures = [picture("coco/1", 1, **blank), picture("sbu/1", 2, **blank), picture("sbu/2", 1, **blank)]
    result = leaks(pictures, VAL, rows("sbu", "train", ("a", "sbu/1", "x"), ("b", "sbu/2", "y")))
    assert [row[2] for row in found(result)] == ["b"]


def test_the_closest_copy_is_named():
    pictures = [
        picture("coco/1", 1),
        picture("coco/2", 2, phash=looks(1, flipped=2)),
        picture("coco/3", 3, phash=looks(1, flipped=4)),
        picture("sbu/1", 4, phash=looks(1, flipped=3)),
    ]
    val = rows("vqa_v2", "val", (1, "coco/3", "a?"), (2, "coco/2", "b?"), (3, "coco/1", "c?"))
    result = leaks(pictures, val, rows("sbu", "train", ("a", "sbu/1", "x")))
    assert found(result)[0][-1] == "sbu/1 looks like coco/2 of vqa_v2 val (1 of 256 bits differ)"


def test_flickr8k_pictures_that_flickr30k_is_scored_on_are_found():
    test = rows("flickr30k", "test", ("1", "flickr30k/1", "a dog"))
    result = leaks(PICTURES, test, rows("flickr8k", "train", ("9", "flickr8k/1", "the dog")))
    assert found(result)[0][:4] == ("flickr8k", "train", "9", "leaks_into_flickr30k_test")


class TestTexts:
    DEV = rows("nlvr2", "dev", ("dev-1-0-0", "sbu/3", "coco/2", "Both are dogs."))

    def test_a_statement_of_an_evaluation_split_leaks_with_any_pictures(self):
        train = rows(
            "nlvr2",
            "train",
            ("train-1-0-0", "flickr8k/1", "coco/1", "both  are dogs"),
            ("train-2-0-0", "flickr8k/1", "coco/1", "Both are cats."),
        )
        result = leaks(PICTURES, self.DEV, train)
        assert found(result) == [
            (
                "nlvr2",
                "train",
                "train-1-0-0",
                "leaks_into_nlvr2_dev",
                "a statement of nlvr2 dev has the same words: both are dogs",
            )
        ]
        assert result.counts["way"].to_pylist() == ["statement"]

    def test_questions_and_captions_with_the_same_words_do_not(self):
        train = rows("vqa_v2", "train", (1, "coco/2", "what is it?"))
        captions = rows("flickr8k", "train", ("1", "flickr8k/1", "Both are dogs."))
        assert found(leaks(PICTURES, VAL, train)) == found(leaks(PICTURES, self.DEV, captions)) == []

    def test_the_same_picture_is_named_before_the_same_words(self):
        train = rows("nlvr2", "train", ("train-1-0-0", "sbu/3", "coco/1", "both are dogs"))
        assert found(leaks(PICTURES, self.DEV, train))[0][-1] == "sbu/3 is also a picture of nlvr2 dev"


class TestWhatIsProtected:
    ANNOTATIONS = (
        rows("vqa_v2", "train"),
        rows("vqa_v2", "val"),
        rows("coco_captions", "train"),
        rows("coco_captions", "restval"),
        rows("coco_captions", "test"),
        rows("flickr30k", "val"),
        rows("nlvr2", "test1"),
        rows("cc3m", "val"),
        rows("visual_genome", "val"),
    )

    def test_splits_that_tasks_are_scored_on(self):
        assert evaluation_splits(self.ANNOTATIONS) == [
            ("coco_captions", "test"),
            ("flickr30k", "val"),
            ("nlvr2", "test1"),
            ("vqa_v2", "val"),
        ]

    def test_evaluation_rows_share_pictures_freely(self):
        test = rows("coco_captions", "test", ("1", "coco/1", "a cat"))
        assert found(leaks(PICTURES, VAL, test)) == []

    def test_restval_trains_on_pictures_of_val2014(self):
        restval = rows("coco_captions", "restval", ("1", "coco/1", "a cat"))
        assert found(leaks(PICTURES, VAL, restval))[0][3] == "leaks_into_vqa_v2_val"

    def test_a_split_that_is_not_protected_is_trained_on(self):
        train = rows("coco_captions", "train", ("1", "coco/1", "a cat"), ("2", "coco/2", "a dog"))
        test = rows("coco_captions", "test", ("3", "coco/1", "a cat"))
        assert found(leaks(PICTURES, VAL, train, protected=[])) == []
        result = leaks(PICTURES, VAL, train, test, protected=[("coco_captions", "test")])
        assert [row[:4] for row in found(result)] == [
            ("coco_captions", "train", "1", "leaks_into_coco_captions_test"),
            ("vqa_v2", "val", "10", "leaks_into_coco_captions_test"),
        ]

    def test_a_split_that_is_not_there_cannot_be_protected(self):
        with pytest.raises(UserError, match=r"vqa_v2 vall is to be protected .* \(there is vqa_v2 val\); prepare it"):
            leaks(PICTURES, VAL, protected=[("vqa_v2", "vall")])

    def test_only_the_named_ways_count(self):
        web = rows("sbu", "train", ("1", "sbu/1", "x"), ("2", "sbu/2", "y"))
        assert [row[2] for row in found(leaks(PICTURES, VAL, web, ways=["bytes"]))] == ["1"]
        assert found(leaks(PICTURES, VAL, web, ways=["id", "coco_id"])) == []


def world(seed: int, number: int = 400) -> tuple[list[dict[str, Any]], list[SplitRows]]:
    """Random sets in which pictures share identifiers, COCO's numbers, files and looks, and statements their words."""
    draw = random.Random(seed)
    pictures = []
    for index in range(number):
        own = draw.randrange(number)
        coco_id = draw.choice([None, draw.randrange(number)])
        phash = looks(draw.randrange(number), flipped=draw.randrange(6))
        pictures.append(picture(f"any/{index}", own, coco_id, phash=phash))
    annotations = []
    for name, split in [("vqa_v2", "val"), ("coco_captions", "test"), ("nlvr2", "dev"), ("nlvr2", "train"),
                        ("sbu", "train"), ("vqa_v2", "train")]:  # fmt: skip
        identifiers = range(40) if name == "vqa_v2" else [f"{split}-{index}" for index in range(40)]
        count = 2 if name == "nlvr2" else 1
        annotations.append(
            rows(name, split, *(
                (identifier, *(f"any/{draw.randrange(number)}" for _ in range(count)), f"words {draw.randrange(200)}")
                for identifier in identifiers
            ))
        )  # fmt: skip
    return pictures, annotations


def expected(
    pictures: list[dict[str, Any]], annotations: list[SplitRows]
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Which row leaks into what, in which way: each compared with each."""
    by_id = {own["image_id"]: own for own in pictures}

    def way(row: dict[str, Any], other: dict[str, Any]) -> int | None:
        ids, others = ([by_id[value] for name, value in r.items() if name.endswith("image_id")] for r in (row, other))
        ways = [5]
        for a in ids:
            for b in others:
                bits = np.bitwise_count(np.frombuffer(a["phash"], np.uint8) ^ np.frombuffer(b["phash"], np.uint8))
                same = (
                    a is b,
                    a["coco_id"] is not None and a["coco_id"] == b["coco_id"],
                    a["sha256"] == b["sha256"],
                    bits.sum() <= DISTANCE,
                )
                ways += [number for number, holds in enumerate(same) if holds]
        if "statement" in row and row["statement"] == other.get("statement"):
            ways.append(4)
        return min(ways)

    result: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for own in annotations:
        for other in annotations:
            if own.split != "train" or other.split == "train":
                continue
            for row in own.table.to_pylist():
                best = min(way(row, scored) for scored in other.table.to_pylist())
                if best < 5:
                    key = (own.set, str(next(iter(row.values()))))
                    result.setdefault(key, set()).add((f"leaks_into_{other.set}_{other.split}", WAYS[best]))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_comparing_each_with_each_finds(seed):
    pictures, annotations = world(seed)
    result = leaks(pictures, *annotations)
    truth = expected(pictures, annotations)
    assert {(row[0], row[2]) for row in found(result)} == truth.keys()
    assert all(row[3] in {reason for reason, _ in truth[row[0], row[2]]} for row in found(result))
    assert sum(result.counts["rows"].to_pylist()) == sum(len(reasons) for reasons in truth.values())
    assert {"id", "coco_id", "bytes", "looks", "statement"} == set(result.counts["way"].to_pylist())


def test_the_order_of_the_inputs_changes_nothing():
    pictures, annotations = world(0)
    first = leaks(pictures, *annotations)
    draw = random.Random(9)
    draw.shuffle(pictures)
    draw.shuffle(annotations)
    shards = []
    for own in annotations:
        order = draw.sample(range(own.table.num_rows), own.table.num_rows)
        shards += [SplitRows(own.set, own.split, own.table.take(part)) for part in (order[:15], order[15:])]
    second = leaks(pictures, *shards)
    assert second.rows.equals(first.rows)
    assert second.counts.equals(first.counts)


def test_a_picture_that_is_not_in_the_table_is_an_error():
    with pytest.raises(ValueError, match="a picture that is not in the table"):
        leaks(PICTURES, VAL, rows("sbu", "train", ("1", "sbu/404", "x")))


def test_nothing_to_look_at():
    assert found(leaks([])) == []


@pytest.mark.real_data
def test_small_copies_of_real_photographs_leak_and_no_other_photograph_does(real_data: Path):
    pictures, copies = [], []
    for index, path in enumerate(sorted((real_data / "coco" / "images" / "val2014").glob("*.jpg"))[:60]):
        with Image.open(path) as photograph:
            pictures.append(picture(f"coco/{index}", index, phash=perceptual_hash(photograph)))
            buffer = io.BytesIO()
            photograph.resize((photograph.width // 2, photograph.height // 2)).save(buffer, "JPEG", quality=60)
        copies.append(picture(f"sbu/{index}", 100 + index, phash=perceptual_hash(Image.open(buffer))))
    val = rows("vqa_v2", "val", *((index, f"coco/{index}", "what is it?") for index in range(30)))
    web = rows("sbu", "train", *((str(index), f"sbu/{index}", "a photograph") for index in range(20, 60)))
    result = leaks([*pictures, *copies], val, web)
    assert {row[2] for row in found(result)} == {str(index) for index in range(20, 30)}
    assert result.counts["way"].to_pylist() == ["looks"]
