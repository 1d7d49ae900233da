"""Items are divided by what they are like."""

import numpy as np
import pyarrow as pa
import pytest

from eve_core.config import SliceConfig, Split
from eve_core.data.selection import split_rows
from eve_core.errors import UserError
from eve_core.evaluation.slices import add_attributes, divide

TEXTS = ["is it red", "what is on the table in the room", "how many dogs are there", "why"]


@pytest.fixture
def items(prepared):
    """40 items with real pictures."""
    rows = split_rows(prepared, Split(set="vqa_v2", splits=["train", "val"])).slice(0, 40)
    return pa.table(
        {
            "item_id": [str(number) for number in range(40)],
            "image_id": rows["image_id"],
            "text": TEXTS * 10,
            "target": ["yes"] * 40,
            "answer_type": ["yes/no", "other"] * 20,
        }
    )


def parts(items, prepared, **config):
    slices = [SliceConfig(**{"min_items": 5, **config})]
    found, problems = divide(add_attributes(items, slices, prepared), slices)
    return {name: int(members.sum()) for name, members in found.items()}, problems


def test_texts_are_divided_by_value_and_numbers_by_bins(items, prepared):
    assert parts(items, prepared, by="answer_type") == ({"answer_type yes/no": 20, "answer_type other": 20}, [])
    assert parts(items, prepared, by="answer_type", values=["other"]) == ({"answer_type other": 20}, [])
    words = {"words below 3": 10, "words 3 to 6": 20, "words 6 and more": 10}
    assert parts(items, prepared, by="words", bins=[3, 6]) == (words, [])
    assert parts(items, prepared, by="source") == ({"source coco": 40}, [])
    sides = parts(items, prepared, by="image_side")[0]
    assert sum(sides.values()) == 40


def test_the_parts_of_a_slice_make_the_whole(items, prepared):
    slices = [SliceConfig(by="words", bins=[4, 5, 9], min_items=1)]
    found, _ = divide(add_attributes(items, slices, prepared), slices)
    assert (np.sum(list(found.values()), axis=0) == 1).all()


def test_parts_that_are_too_small_are_left_out_unless_they_were_asked_for(items, prepared):
    assert parts(items, prepared, by="words", min_items=15) == ({}, ["slice words has no part with 15 items"])
    found, problems = parts(items, prepared, by="words", bins=[3, 100])
    assert found == {"words below 3": 10, "words 3 to 100": 30}
    assert problems == ["slice words 100 and more has 0 items, fewer than 5"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_adds_what_the_items_do_not_say(items, prepared, tmp_path, kind):
    import pandas as pd

    ids = sorted(set(items["image_id"].to_pylist()))
    table = pd.DataFrame({"image_id": ids, "objects": [number % 3 for number in range(len(ids))]})
    path = tmp_path / f"objects.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    found, problems = parts(items, prepared, by="objects", table=path, bins=[1], min_items=1)
    assert list(found) == ["objects below 1", "objects 1 and more"]
    assert sum(found.values()) == 40
    assert problems == []
    table.iloc[1:].to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(UserError, match=f"lacks 1 of the scored image_ids, such as {ids[0]}|lacks"):
        parts(items, prepared, by="objects", table=tmp_path / "less.csv")
    with pytest.raises(UserError, match="needs columns size and image_id or item_id"):
        parts(items, prepared, by="size", table=path)


def test_what_cannot_be_divided_is_refused(items, prepared):
    with pytest.raises(UserError, match="items of this task have no direction; they have answer_type, label, words"):
        parts(items, prepared, by="direction")
    with pytest.raises(UserError, match=r"bins .* are of numbers, but the items have texts"):
        parts(items, prepared, by="answer_type", bins=[1])
    with pytest.raises(ValueError, match="which do not rise"):
        SliceConfig(by="words", bins=[3, 1])
    with pytest.raises(ValueError, match="keep one"):
        SliceConfig(by="words", bins=[3], values=["a"])
