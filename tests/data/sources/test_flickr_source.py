"""Flickr in Karpathy's form, as token file with lists of splits, and as json lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import FlickrSource
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, read_all, reasons, rows, write_json

IMAGE = {"filename": "12_ab.jpg", "split": "test", "sentences": [{"raw": "A dog .", "sentid": 5}]}


def karpathy(tmp_path: Path, *images: dict[str, Any]) -> Found:
    path = write_json(tmp_path / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    return read_all(FlickrSource(set="flickr30k", annotations=path, images=tmp_path))


def tokens(tmp_path: Path, *lines: bytes, **lists: str) -> Found:
    path = tmp_path / "Flickr8k.token.txt"
    path.write_bytes(b"\n".join(lines))
    splits = [tmp_path / f"Flickr_8k.{name}.txt" for name in lists]
    for file, names in zip(splits, lists.values(), strict=True):
        file.write_text(names)
    return read_all(FlickrSource(set="flickr8k", annotations=path, splits=splits, images=tmp_path))


def json_lines(tmp_path: Path, *lines: dict[str, Any], name: str = "valid_ann.jsonl") -> Found:
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, lines)))
    return read_all(FlickrSource(set="flickr30k", annotations=[path], images=tmp_path))


def test_a_caption_has_the_namespace_of_its_set(tmp_path: Path) -> None:
    assert rows(karpathy(tmp_path, IMAGE)) == [
        {"caption_id": "5", "image_id": "flickr30k/12_ab", "caption": "A dog .", "split": "test"}
    ]


@pytest.mark.parametrize(
    ("image", "row_id", "reason"),
    [
        (IMAGE, "12_ab.jpg", "duplicate_id"),
        ({**IMAGE, "filename": "b.jpg"}, "5", "duplicate_id"),
        ({**IMAGE, "filename": "b.jpg", "sentences": []}, "flickr30k/b", "unused_picture"),
        ({**IMAGE, "filename": "12_ab.png"}, "12_ab.png", "duplicate_id"),
        ({"filename": "b.jpg", "split": "test"}, "b.jpg", "bad_record"),
        ({**IMAGE, "filename": "../b.jpg"}, "../b.jpg", "path_outside"),
    ],
)
def test_a_wrong_picture_is_rejected_and_the_rest_read(
    tmp_path: Path, image: dict[str, Any], row_id: str, reason: str
) -> None:
    last = {"filename": "z.jpg", "split": "test", "sentences": [{"raw": "x", "sentid": 6}]}
    found = karpathy(tmp_path, IMAGE, image, last)
    assert reasons(found) == [(row_id, reason)]
    assert [row["image_id"] for row in rows(found)] == ["flickr30k/12_ab", "flickr30k/z"]


def test_a_token_file_without_lists_is_train(tmp_path: Path) -> None:
    assert rows(tokens(tmp_path, b"12_ab.jpg#0\tA dog .", b"12_ab.jpg#1\tA cat .")) == [
        {"caption_id": "12_ab.jpg#0", "image_id": "flickr8k/12_ab", "caption": "A dog .", "split": "train"},
        {"caption_id": "12_ab.jpg#1", "image_id": "flickr8k/12_ab", "caption": "A cat .", "split": "train"},
    ]


def test_lists_say_the_split_with_or_without_ending(tmp_path: Path) -> None:
    lines = [f"{name}.jpg#0\tx".encode() for name in "abcd"]
    found = tokens(tmp_path, *lines, trainImages="a.jpg\n", devImages="b.jpg\n", testImages="c\n")
    assert [row["split"] for row in rows(found)] == ["train", "val", "test", "unlisted"]


def test_lists_that_disagree_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: a is in the list of train too"):
        tokens(tmp_path, b"a.jpg#0\tx", trainImages="a.jpg\n", testImages="a.jpg\n")
    with pytest.raises(UserError, match="not named after its split"):
        tokens(tmp_path, b"a.jpg#0\tx", someImages="a.jpg\n")


@pytest.mark.parametrize(
    ("line", "row_id", "reason"),
    [
        (b"a.jpg#0\tx", "a.jpg#0", "duplicate_id"),
        (b"a.jpg#1 x", "Flickr8k.token.txt, line 2", "bad_record"),
        (b"a.jpg\tx", "Flickr8k.token.txt, line 2", "bad_record"),
        (b"a.png#0\tx", "a.png#0", "duplicate_id"),
        (b"a.jpg#1\tcaf\xe9", "Flickr8k.token.txt, line 2", "not_utf8"),
        (b"../a.jpg#1\tx", "../a.jpg#1", "path_outside"),
    ],
)
def test_a_wrong_line_is_rejected_and_the_rest_read(tmp_path: Path, line: bytes, row_id: str, reason: str) -> None:
    found = tokens(tmp_path, b"a.jpg#0\tx", line, b"z.jpg#0\tx")
    assert reasons(found) == [(row_id, reason)]
    assert [row["caption_id"] for row in rows(found)] == ["a.jpg#0", "z.jpg#0"]


def test_json_lines_are_numbered_by_picture(tmp_path: Path) -> None:
    line = {"sentences": ["A dog.", "A cat."], "id": "12", "img_path": "12.jpg"}
    found = json_lines(
        tmp_path,
        line,
        line,
        {**line, "img_path": "13.jpg", "sentences": [3]},
        {**line, "img_path": "14.jpg", "sentences": []},
    )
    assert rows(found) == [
        {"caption_id": "12.jpg#0", "image_id": "flickr30k/12", "caption": "A dog.", "split": "val"},
        {"caption_id": "12.jpg#1", "image_id": "flickr30k/12", "caption": "A cat.", "split": "val"},
    ]
    assert reasons(found) == [("12.jpg", "duplicate_id"), ("13.jpg", "bad_record"), ("flickr30k/14", "unused_picture")]
    with pytest.raises(UserError, match="not named after its split"):
        json_lines(tmp_path, line, name="captions.jsonl")


def test_two_forms_at_once_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "dataset_flickr8k.json", tmp_path / "Flickr8k.token.txt"]
    with pytest.raises(UserError, match="in different forms"):
        read_all(FlickrSource(set="flickr8k", annotations=files, images=tmp_path))
    with pytest.raises(UserError, match="says the splits itself"):
        read_all(FlickrSource(set="flickr8k", annotations=files[0], splits=[files[1]], images=tmp_path))
