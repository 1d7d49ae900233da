"""Flickr in Karpathy's form."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import FlickrSource
from eve_core.data.sources.flickr import read
from eve_core.errors import UserError

IMAGE = {"filename": "12_ab.jpg", "split": "test", "sentences": [{"raw": "A dog .", "sentid": 5}]}


def read_rows(tmp_path: Path, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    return [annotation.row for annotation in read(FlickrSource(set="flickr30k", annotations=path, images=tmp_path))]


def test_a_caption_has_the_namespace_of_its_set(tmp_path: Path) -> None:
    assert read_rows(tmp_path, [IMAGE]) == [
        {"caption_id": "5", "image_id": "flickr30k/12_ab", "caption": "A dog .", "split": "test"}
    ]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([IMAGE, IMAGE], r"\.images\[1\]: the picture 12_ab.jpg occurs twice"),
        ([IMAGE, {**IMAGE, "filename": "b.jpg"}], r"\.images\[1\]\.sentences\[0\]: the sentence id 5 occurs twice"),
        ([{"filename": "b.jpg", "split": "test"}], "has no key sentences"),
    ],
)
def test_wrong_records_are_refused(tmp_path: Path, images: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path, images)
