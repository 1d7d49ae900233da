"""Visual Genome: regions and questions of listed pictures."""

from pathlib import Path
from typing import Any

import pytest

from eve_core.config import VisualGenomeQaSource, VisualGenomeSource
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rows, write_json

IMAGES = [
    {"image_id": 1, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg", "coco_id": None},
    {"image_id": 2, "url": "https://cs.stanford.edu/people/rak248/VG_100K/2.jpg", "coco_id": 7},
]
REGION = {"region_id": 10, "image_id": 2, "phrase": "a clock", "x": 1, "y": 1, "width": 1, "height": 1}
UNUSED = ("visual_genome/1", "unused_picture")
QUESTION = {"qa_id": 20, "image_id": 2, "question": "What?", "answer": "A clock.", "a_objects": []}


def regions(tmp_path: Path, content: object, images: object = IMAGES) -> Found:
    return read_all(
        VisualGenomeSource(
            regions=write_json(tmp_path / "region_descriptions.json", content),
            image_data=write_json(tmp_path / "image_data.json", images),
            images=tmp_path,
        )
    )


def questions(tmp_path: Path, content: object) -> Found:
    return read_all(
        VisualGenomeQaSource(
            questions=write_json(tmp_path / "question_answers.json", content),
            image_data=write_json(tmp_path / "image_data.json", IMAGES),
            images=tmp_path,
        )
    )


def test_a_region_is_a_caption_of_its_picture(tmp_path: Path) -> None:
    [annotation] = annotations(regions(tmp_path, [{"id": 1, "regions": []}, {"id": 2, "regions": [REGION]}]))
    assert annotation.row == {
        "caption_id": "10",
        "image_id": "visual_genome/2",
        "caption": "a clock",
        "split": "train",
    }
    [picture] = annotation.pictures
    assert (picture.name, picture.coco_id) == ("2.jpg", 7)
    assert {tmp_path / "VG_100K/2.jpg", tmp_path / "VG_100K_2/2.jpg", tmp_path / "2.jpg"} == {*picture.candidates}


def test_a_question_has_one_answer(tmp_path: Path) -> None:
    assert rows(questions(tmp_path, [{"id": 2, "qas": [QUESTION]}])) == [
        {
            "question_id": 20,
            "image_id": "visual_genome/2",
            "question": "What?",
            "question_type": None,
            "answer_type": None,
            "answers": ["A clock."],
            "answer": "A clock.",
            "split": "train",
        }
    ]


@pytest.mark.parametrize(
    ("wrong", "row_id", "reason"),
    [
        ({**REGION, "region_id": 11, "image_id": 3}, "11", "unknown_picture"),
        ({**REGION, "region_id": 11, "phrase": None}, "11", "bad_record"),
        (REGION, "10", "duplicate_id"),
        ({"phrase": "x", "image_id": 2}, "region_descriptions.json, [0].regions[1]", "bad_record"),
    ],
)
def test_a_wrong_region_is_rejected_and_the_rest_read(
    tmp_path: Path, wrong: dict[str, Any], row_id: str, reason: str
) -> None:
    found = regions(tmp_path, [{"id": 2, "regions": [REGION, wrong, {**REGION, "region_id": 12}]}])
    assert reasons(found) == [(row_id, reason), UNUSED]
    assert [row["caption_id"] for row in rows(found)] == ["10", "12"]


def test_a_wrong_picture_is_rejected_with_its_regions(tmp_path: Path) -> None:
    content = [{"id": 2, "regions": [REGION]}, {"id": 1}, 7]
    found = regions(tmp_path, content, [{**IMAGES[1], "url": "https://x/.."}, {"url": "y"}])
    assert reasons(found) == [
        ("2", "path_outside"),
        ("image_data.json, [1]", "bad_record"),
        ("10", "unknown_picture"),
        ("1", "bad_record"),
        ("region_descriptions.json, [2]", "bad_record"),
    ]


def test_of_pictures_with_one_number_the_first_counts(tmp_path: Path) -> None:
    found = regions(tmp_path, [{"id": 2, "regions": [REGION]}], [*IMAGES, {"image_id": 2, "url": "https://x/9.jpg"}])
    assert reasons(found) == [("2", "duplicate_id"), UNUSED]
    assert annotations(found)[0].pictures[0].name == "2.jpg"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({**QUESTION, "answer": None}, "bad_record"), ({**QUESTION, "question": 1}, "bad_record")],
)
def test_a_wrong_question_is_rejected_and_the_rest_read(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    found = questions(tmp_path, [{"id": 2, "qas": [{**wrong, "qa_id": 21}, QUESTION]}])
    assert reasons(found) == [("21", reason), UNUSED]
    assert [row["question_id"] for row in rows(found)] == [20]


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"region_descriptions.json must hold a JSON list"):
        regions(tmp_path, {"regions": []})
