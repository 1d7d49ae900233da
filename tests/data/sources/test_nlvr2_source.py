"""NLVR2: identifiers, labels, splits and the official sub-folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import Nlvr2Source
from eve_core.data.sources.annotation import Annotation
from eve_core.data.sources.nlvr2 import read
from eve_core.errors import UserError

LINE = {"identifier": "dev-850-0-1", "sentence": "Two dogs.", "label": "True"}


def read_all(tmp_path: Path, *lines: dict[str, Any], name: str = "dev.json") -> list[Annotation]:
    (tmp_path / name).write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return list(read(Nlvr2Source(statements=[tmp_path / name], images=tmp_path)))


def test_a_statement_refers_to_its_pair(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, LINE)
    assert annotation.row == {
        "statement_id": "dev-850-0-1",
        "left_image_id": "nlvr2/dev-850-0-img0",
        "right_image_id": "nlvr2/dev-850-0-img1",
        "statement": "Two dogs.",
        "label": True,
        "split": "dev",
    }


@pytest.mark.parametrize(("name", "split"), [("train.json", "train"), ("balanced_test1.json", "test1")])
def test_the_files_name_says_the_split(tmp_path: Path, name: str, split: str) -> None:
    assert [a.row["split"] for a in read_all(tmp_path, LINE, name=name)] == [split]


def test_official_sub_folders_are_looked_into(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, {**LINE, "identifier": "train-1-0-0", "directory": 63}, name="train.json")
    left = annotation.pictures[0].candidates
    assert left == tuple(tmp_path / place / "train-1-0-img0.png" for place in ("", "train", "train/63"))


def test_a_withheld_label_is_unknown(tmp_path: Path) -> None:
    [annotation] = read_all(tmp_path, {"identifier": "test2-1-0-0", "sentence": "x"}, name="test2.json")
    assert annotation.row["label"] is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LINE, {**LINE, "identifier": "dev-1-0-0", "label": "yes"}], "line 2: the label is 'yes'"),
        ([{**LINE, "label": True}], "line 1: label must be a string"),
        ([LINE, LINE], "line 2: the identifier dev-850-0-1 occurs twice"),
        ([{**LINE, "identifier": "dev"}], "not of the form"),
        ([{**LINE, "identifier": "../dev-1-0-0"}], "not of the form"),
        ([{"identifier": "dev-1-0-0", "label": "True"}], "line 1: has no key sentence"),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_all(tmp_path, *lines)


def test_a_file_that_is_not_named_after_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not named after its split"):
        read_all(tmp_path, LINE, name="nlvr2.json")
