"""COCO Captions in both forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import CocoCaptionsSource
from eve_core.data.sources.annotation import Annotation
from eve_core.data.sources.coco_captions import read
from eve_core.errors import UserError


def official(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 42, "file_name": "COCO_train2014_000000000042.jpg"}],
        "annotations": [{"id": 7, "image_id": 42, "caption": "A dog."}],
        **changes,
    }


def karpathy(split: str = "restval") -> dict[str, Any]:
    image = {"cocoid": 42, "filename": "COCO_val2014_000000000042.jpg", "filepath": "val2014", "split": split}
    return {"images": [{**image, "sentences": [{"raw": "A dog.", "sentid": 7}]}], "dataset": "coco"}


def read_all(tmp_path: Path, **files: dict[str, Any]) -> list[Annotation]:
    paths = []
    for name, content in files.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    return list(read(CocoCaptionsSource(annotations=paths, images=tmp_path)))


def test_the_official_form(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, captions=official())
    assert annotation.row == {"caption_id": "7", "image_id": "coco/42", "caption": "A dog.", "split": "train"}


def test_karpathys_form_counts_restval_as_train(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, dataset=karpathy())
    assert annotation.row == {"caption_id": "7", "image_id": "coco/42", "caption": "A dog.", "split": "train"}
    assert [a.row["split"] for a in read_all(tmp_path, dataset=karpathy("test"))] == ["test"]


def test_the_files_name_says_the_split_where_the_pictures_does_not(tmp_path: Path) -> None:
    content = official(images=[{"id": 42, "file_name": "000000000042.jpg"}])
    assert [a.row["split"] for a in read_all(tmp_path, captions_val2017=content)] == ["val"]
    with pytest.raises(UserError, match="says train or val"):
        read_all(tmp_path, captions=content)


@pytest.mark.parametrize("place", ["", "train2014", "val2014"])
def test_pictures_are_looked_for_in_the_folder_and_its_subsets(tmp_path: Path, place: str) -> None:
    [annotation] = read_all(tmp_path, dataset=karpathy())
    assert tmp_path / place / "COCO_val2014_000000000042.jpg" in annotation.pictures[0].candidates


def test_a_file_name_cannot_point_outside_of_the_folder(tmp_path: Path) -> None:
    content = official(images=[{"id": 42, "file_name": "../../COCO_train2014_1.jpg"}])
    [annotation] = read_all(tmp_path, captions=content)
    assert all(path.resolve().is_relative_to(tmp_path) for path in annotation.pictures[0].candidates)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": 3, "annotations": []}, "images must be a list"),
        ({"questions": []}, "has no key images"),
        (
            official(annotations=[{"id": 7, "image_id": 43, "caption": "x"}]),
            r"\.annotations\[0\]: refers to picture 43",
        ),
        (official(annotations=[{"id": 7, "image_id": 42, "caption": None}]), "caption must be a string"),
        (official(annotations=official()["annotations"] * 2), r"\.annotations\[1\]: the caption id 7 occurs twice"),
    ],
)
def test_wrong_records_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_all(tmp_path, captions=content)


def test_the_same_captions_in_both_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same captions in two forms"):
        read_all(tmp_path, captions=official(), dataset=karpathy())


def test_a_missing_folder_of_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder of pictures .*nowhere"):
        list(read(CocoCaptionsSource(annotations=[], images=tmp_path / "nowhere")))
