"""VQA v2: questions with and without annotations."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import VqaV2Source
from eve_core.data.sources.annotation import Annotation
from eve_core.data.sources.vqa_v2 import read
from eve_core.errors import UserError

QUESTION = {"question_id": 42000, "image_id": 42, "question": "Is it a dog?"}
ANNOTATION = {
    "question_id": 42000,
    "image_id": 42,
    "question_type": "is it",
    "answer_type": "yes/no",
    "multiple_choice_answer": "yes",
    "answers": [{"answer": "yes", "answer_id": n} for n in range(1, 11)],
}


def read_all(
    tmp_path: Path,
    questions: list[Any],
    annotations: list[Any] | None,
    subtype: str | None = "train2014",
    name: str = "q",
) -> list[Annotation]:
    head = {"data_subtype": subtype} if subtype else {}
    files = {"questions": tmp_path / f"{name}.json", "annotations": tmp_path / "a.json"}
    files["questions"].write_text(json.dumps({**head, "questions": questions}))
    files["annotations"].write_text(json.dumps({**head, "annotations": annotations or []}))
    given = [] if annotations is None else [files["annotations"]]
    return list(read(VqaV2Source(questions=[files["questions"]], annotations=given, images=tmp_path)))


def test_a_question_with_its_ten_answers(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, [QUESTION], [ANNOTATION])
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
    assert tmp_path / "train2014/COCO_train2014_000000000042.jpg" in annotation.pictures[0].candidates


@pytest.mark.parametrize(("subtype", "split"), [("val2014", "val"), ("test2015", "test"), ("test-dev2015", "test")])
def test_questions_without_annotations_have_no_answers(tmp_path: Path, subtype: str, split: str) -> None:
    [annotation] = read_all(tmp_path, [QUESTION], None, subtype)
    assert annotation.row["split"] == split
    assert annotation.row["answers"] == []
    assert annotation.row["answer"] is annotation.row["question_type"] is annotation.row["answer_type"] is None


def test_the_files_name_says_the_split_where_the_file_does_not(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, [QUESTION], None, None, "questions_valid")
    assert annotation.row["split"] == "val"
    with pytest.raises(UserError, match="says its split neither in data_subtype nor in its name"):
        read_all(tmp_path, [QUESTION], None, None, "q")


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        ([QUESTION] * 2, None, r"\.questions\[1\]: the question id 42000 occurs twice"),
        ([QUESTION], [ANNOTATION] * 2, r"\.annotations\[1\]: question 42000 is annotated twice"),
        ([QUESTION], [], "question 42000 has no annotation"),
        ([QUESTION], [{**ANNOTATION, "answers": "yes"}], r"\.annotations\[0\]: answers must be a list, not 'yes'"),
        ([QUESTION], [{**ANNOTATION, "answers": ["yes"]}], r"answers\[0\]: must be an object"),
        ([{**QUESTION, "question": 5}], None, "question must be a string"),
    ],
)
def test_wrong_records_are_refused(tmp_path: Path, questions: list[Any], annotations: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_all(tmp_path, questions, annotations)


@pytest.mark.real_data
def test_the_large_text_only_sample_is_read_whole(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "vqa2/text_only_60k"
    source = VqaV2Source(
        questions=[folder / "questions_valid.json.gz"],
        annotations=[folder / "annotations_valid.json.gz"],
        images=tmp_path,
    )
    rows = [annotation.row for annotation in read(source)]
    assert len(rows) == 8977
    assert {row["split"] for row in rows} == {"val"}
    assert {len(row["answers"]) for row in rows} == {10}
