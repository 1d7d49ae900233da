"""Which rows are trained on and which are scored: no picture on both sides."""

import pytest

from eve_core.config import Split, TaskDataConfig
from eve_core.data.selection import evaluation_rows, split_rows, texts_of, training_rows
from eve_core.errors import UserError


def held_out(set_name: str, split: str, share: float) -> TaskDataConfig:
    both = Split(set=set_name, splits=[split])
    return TaskDataConfig(train=both, evaluate=both, holdout=share)


def test_named_splits_are_taken_as_they_are(prepared):
    task = TaskDataConfig(train=Split(set="vqa_v2", splits=["train"]), evaluate=Split(set="vqa_v2", splits=["val"]))
    assert set(training_rows(prepared, task)["split"].to_pylist()) == {"train"}
    assert set(evaluation_rows(prepared, task)["split"].to_pylist()) == {"val"}


@pytest.mark.parametrize(("set_name", "split"), [("flickr8k", "train"), ("vqa_v2", "train"), ("nlvr2", "train")])
def test_holding_out_divides_the_rows_by_picture(prepared, set_name, split):
    task = held_out(set_name, split, 0.25)
    everything = split_rows(prepared, task.train)
    train, test = training_rows(prepared, task), evaluation_rows(prepared, task)
    assert train.num_rows + test.num_rows == everything.num_rows

    def pictures(rows):
        columns = [name for name in ("image_id", "left_image_id", "right_image_id") if name in rows.column_names]
        return {image_id for name in columns for image_id in rows[name].to_pylist()}

    assert not pictures(train) & pictures(test)
    assert len(pictures(test)) / len(pictures(everything)) == pytest.approx(0.25, abs=0.06)


def test_the_same_pictures_are_held_out_every_time(prepared):
    task = held_out("flickr8k", "train", 0.25)
    assert evaluation_rows(prepared, task).equals(evaluation_rows(prepared, task))


def test_a_split_that_is_not_there_is_refused(prepared):
    with pytest.raises(UserError, match=r"there is no set coco.*coco_captions"):
        split_rows(prepared, Split(set="coco", splits=["train"]))
    with pytest.raises(UserError, match="nlvr2"):
        split_rows(prepared, Split(set="nlvr2", splits=["test9"]))


def test_holding_out_so_much_that_nothing_is_left_is_refused(prepared):
    with pytest.raises(UserError, match="nlvr2 dev has no rows to train on"):
        training_rows(prepared, held_out("nlvr2", "dev", 0.99))


@pytest.mark.parametrize(
    ("set_name", "column"), [("flickr8k", "caption"), ("vqa_v2", "question"), ("nlvr2", "statement")]
)
def test_texts_are_the_captions_questions_or_statements(prepared, set_name, column):
    rows = split_rows(prepared, Split(set=set_name, splits=["train"]))
    assert texts_of(rows) == rows[column].to_pylist()
