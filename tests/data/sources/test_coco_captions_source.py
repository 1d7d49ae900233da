"""COCO Captions in both forms."""

from pathlib import Path
from typing import Any

import pytest

from eve_core.config import CocoCaptionsSource
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rejected, rows, write_json

CAPTION = {"id": 7, "image_id": 42, "caption": "A dog."}
ROW = {"caption_id": "7", "image_id": "coco/42", "caption": "A dog.", "split": "train"}


def official(*captions: object, **changes: Any) -> dict[str, Any]:
    image = {"id": 42, "file_name": "COCO_train2014_000000000042.jpg"}
    return {"images": [image], "annotations": [CAPTION, *captions], **changes}


def karpathy(split: str = "restval", **changes: Any) -> dict[str, Any]:
    image = {"cocoid": 42, "filename": "COCO_val2014_000000000042.jpg", "filepath": "val2014", "split": split}
    return {"images": [{**image, "sentences": [{"raw": "A dog.", "sentid": 7}], **changes}], "dataset": "coco"}


def read(tmp_path: Path, **files: dict[str, Any]) -> Found:
    paths = [write_json(tmp_path / f"{name}.json", content) for name, content in files.items()]
    return read_all(CocoCaptionsSource(annotations=paths, images=tmp_path))


def test_the_official_form(tmp_path: Path) -> None:
    assert rows(read(tmp_path, captions=official())) == [ROW]


def test_karpathys_form_counts_restval_as_train(tmp_path: Path) -> None:
    assert rows(read(tmp_path, dataset=karpathy())) == [ROW]
    assert [row["split"] for row in rows(read(tmp_path, dataset=karpathy("test")))] == ["test"]


def test_the_files_name_says_the_split_where_the_pictures_does_not(tmp_path: Path) -> None:
    content = official(images=[{"id": 42, "file_name": "000000000042.jpg"}])
    [annotation] = annotations(read(tmp_path, captions_val2017=content))
    assert annotation.row["split"] == "val"
    assert annotation.pictures[0].candidates[0] == tmp_path / "val2017/000000000042.jpg"
    with pytest.raises(UserError, match="says train or val"):
        read(tmp_path, captions=content)


@pytest.mark.parametrize("place", ["", "train2014", "val2014"])
def test_pictures_are_looked_for_in_the_folder_and_its_subsets(tmp_path: Path, place: str) -> None:
    [annotation] = annotations(read(tmp_path, dataset=karpathy(filepath="")))
    assert tmp_path / place / "COCO_val2014_000000000042.jpg" in annotation.pictures[0].candidates


def test_a_picture_keeps_cocos_number(tmp_path: Path) -> None:
    found = [*read(tmp_path, captions=official()), *read(tmp_path, dataset=karpathy())]
    assert [annotation.pictures[0].coco_id for annotation in annotations(found)] == [42, 42]


@pytest.mark.parametrize(
    ("caption", "row_id", "reason"),
    [
        ({"id": 8, "image_id": 43, "caption": "x"}, "8", "unknown_picture"),
        ({"id": 8, "image_id": 42, "caption": None}, "8", "bad_record"),
        ({"id": 8, "image_id": 42, "text": "x"}, "8", "bad_record"),
        ({"image_id": 42, "caption": "x"}, "captions.json, .annotations[1]", "bad_record"),
        (CAPTION, "7", "duplicate_id"),
        ("A dog.", "captions.json, .annotations[1]", "bad_record"),
    ],
)
def test_a_wrong_caption_is_rejected_and_the_rest_read(
    tmp_path: Path, caption: object, row_id: str, reason: str
) -> None:
    found = read(tmp_path, captions=official(caption, {**CAPTION, "id": 9}))
    assert [row["caption_id"] for row in rows(found)] == ["7", "9"]
    assert reasons(found) == [(row_id, reason)]
    assert r".annotations[1]" in rejected(found)[0].detail


def test_a_wrong_picture_takes_its_captions_along(tmp_path: Path) -> None:
    images = [{"id": 42, "file_name": "../../COCO_train2014_1.jpg"}, {"id": 43, "file_name": "COCO_val2014_43.jpg"}]
    found = read(tmp_path, captions=official({"id": 8, "image_id": 43, "caption": "x"}, images=images))
    assert reasons(found) == [("42", "path_outside"), ("7", "unknown_picture")]
    assert [row["image_id"] for row in rows(found)] == ["coco/43"]


def test_a_picture_without_captions_is_told(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"COCO_train2014_{n}.jpg"} for n in (42, 43)]
    assert reasons(read(tmp_path, captions=official(images=images))) == [("coco/43", "unused_picture")]
    assert reasons(read(tmp_path, dataset=karpathy(sentences=[]))) == [("coco/42", "unused_picture")]


def test_of_pictures_with_one_number_the_first_counts(tmp_path: Path) -> None:
    images = [{"id": 42, "file_name": f"COCO_train2014_{n}.jpg"} for n in (1, 2)]
    found = read(tmp_path, captions=official(images=images))
    assert reasons(found) == [("42", "duplicate_id")]
    assert annotations(found)[0].pictures[0].name == "COCO_train2014_1.jpg"
    twice = karpathy()
    twice["images"].append({**twice["images"][0], "filename": "2.jpg", "sentences": [{"raw": "x", "sentid": 8}]})
    found = read(tmp_path, dataset=twice)
    assert (reasons(found), rows(found)) == ([("42", "duplicate_id")], [ROW])


@pytest.mark.parametrize(
    ("changes", "row_id", "reason"),
    [
        ({"filename": "/etc/passwd"}, "42", "path_outside"),
        ({"filepath": ".."}, "42", "path_outside"),
        ({"sentences": None}, "42", "bad_record"),
        ({"sentences": [{"raw": 3, "sentid": 7}]}, "7", "bad_record"),
    ],
)
def test_a_wrong_picture_of_karpathys_is_rejected(
    tmp_path: Path, changes: dict[str, Any], row_id: str, reason: str
) -> None:
    assert reasons(read(tmp_path, dataset=karpathy(**changes))) == [(row_id, reason)]


@pytest.mark.parametrize(
    ("content", "message"),
    [({"images": 3, "annotations": []}, "images must be a list"), ({"questions": []}, "has no key images")],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, captions=content)


def test_the_same_captions_in_both_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same captions in two forms"):
        read(tmp_path, captions=official(), dataset=karpathy())


def test_a_missing_folder_of_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder of pictures .*nowhere"):
        read_all(CocoCaptionsSource(annotations=[], images=tmp_path / "nowhere"))
