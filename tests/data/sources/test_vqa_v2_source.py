"""VQA v2: questions with and without annotations."""

from pathlib import Path
from typing import Any

import pytest

from eve_core.config import VqaV2Source
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rows, write_json

QUESTION = {"question_id": 42000, "image_id": 42, "question": "Is it a dog?"}
ANSWERS = [{"answer": "yes", "answer_id": n} for n in range(1, 11)]
ANNOTATION = {
    "question_id": 42000,
    "image_id": 42,
    "question_type": "is it",
    "answer_type": "yes/no",
    "multiple_choice_answer": "yes",
    "answers": ANSWERS,
}


def read(
    tmp_path: Path,
    questions: list[Any],
    annotated: list[Any] | None,
    subtype: str | None = "train2014",
    name: str = "q",
) -> Found:
    head = {"data_subtype": subtype} if subtype else {}
    files = [write_json(tmp_path / f"{name}.json", {**head, "questions": questions})]
    given = [] if annotated is None else [write_json(tmp_path / "a.json", {**head, "annotations": annotated})]
    return read_all(VqaV2Source(questions=files, annotations=given, images=tmp_path))


def test_a_question_with_its_ten_answers(tmp_path: Path) -> None:
    [annotation] = annotations(read(tmp_path, [QUESTION], [ANNOTATION]))
    assert annotation.row == {
        "question_id": 42000,
        "image_id": "coco/42",
        "question": "Is it a dog?",
        "question_type": "is it",
        "answer_type": "yes/no",
        "answers": ["yes"] * 10,
        "answer": "yes",
        "split": "train",
    }
    [picture] = annotation.pictures
    assert picture.candidates[0] == tmp_path / "train2014/COCO_train2014_000000000042.jpg"
    assert picture.coco_id == 42


@pytest.mark.parametrize(
    ("subtype", "split", "picture"),
    [
        ("val2014", "val", "val2014/COCO_val2014_000000000042.jpg"),
        ("test2015", "test", "test2015/COCO_test2015_000000000042.jpg"),
        ("test-dev2015", "test", "test2015/COCO_test2015_000000000042.jpg"),
    ],
)
def test_questions_without_annotations_have_no_answers(tmp_path: Path, subtype: str, split: str, picture: str) -> None:
    [annotation] = annotations(read(tmp_path, [QUESTION], None, subtype))
    assert annotation.row["split"] == split
    assert annotation.row["answers"] == []
    assert annotation.row["answer"] is annotation.row["question_type"] is annotation.row["answer_type"] is None
    assert annotation.pictures[0].candidates[0] == tmp_path / picture


def test_the_files_name_says_the_split_where_the_file_does_not(tmp_path: Path) -> None:
    assert [row["split"] for row in rows(read(tmp_path, [QUESTION], None, None, "questions_valid"))] == ["val"]
    with pytest.raises(UserError, match="says its split neither in data_subtype nor in its name"):
        read(tmp_path, [QUESTION], None, None, "q")


OTHER, OTHER_ANNOTATION = {**QUESTION, "question_id": 42001}, {**ANNOTATION, "question_id": 42001}


@pytest.mark.parametrize(
    ("questions", "annotated", "reason"),
    [
        ([OTHER], [OTHER_ANNOTATION] * 2, "duplicate_id"),
        ([OTHER, OTHER], [OTHER_ANNOTATION], "duplicate_id"),
        ([], [OTHER_ANNOTATION], "no_question"),
        ([OTHER], [], "no_annotation"),
        ([OTHER], [{**OTHER_ANNOTATION, "answers": ANSWERS[:9]}], "not_ten_answers"),
        ([OTHER], [{**OTHER_ANNOTATION, "answers": [*ANSWERS, ANSWERS[0]]}], "not_ten_answers"),
        ([OTHER], [{**OTHER_ANNOTATION, "answers": "yes"}], "bad_record"),
        ([OTHER], [{**OTHER_ANNOTATION, "answers": [*ANSWERS[:9], {"answer": None}]}], "bad_record"),
        ([OTHER], [{**OTHER_ANNOTATION, "answers": ["yes"] * 10}], "bad_record"),
        ([{**OTHER, "question": 5}], [OTHER_ANNOTATION], "bad_record"),
        ([{**OTHER, "image_id": None}], [OTHER_ANNOTATION], "bad_record"),
    ],
)
def test_a_wrong_record_is_rejected_once_and_the_rest_read(
    tmp_path: Path, questions: list[Any], annotated: list[Any], reason: str
) -> None:
    last = 42002
    found = read(
        tmp_path,
        [QUESTION, *questions, {**QUESTION, "question_id": last}],
        [ANNOTATION, *annotated, {**ANNOTATION, "question_id": last}],
    )
    assert reasons(found) == [("42001", reason)]
    kept = {row["question_id"] for row in rows(found)}
    assert kept == ({42000, 42001, last} if reason == "duplicate_id" else {42000, last})


def test_annotations_of_a_split_without_questions_are_refused(tmp_path: Path) -> None:
    questions = write_json(tmp_path / "q_train.json", {"questions": [QUESTION]})
    annotated = write_json(tmp_path / "a_val.json", {"annotations": [ANNOTATION]})
    with pytest.raises(UserError, match="annotations of val but no questions"):
        read_all(VqaV2Source(questions=[questions], annotations=[annotated], images=tmp_path))
