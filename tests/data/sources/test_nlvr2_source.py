"""NLVR2: identifiers, labels, splits and the official sub-folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import Nlvr2Source
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rows

LINE = {"identifier": "dev-850-0-1", "sentence": "Two dogs.", "label": "True"}


def read(tmp_path: Path, *lines: dict[str, Any] | str, name: str = "dev.json") -> Found:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / name).write_text("\n".join(texts) + "\n")
    return read_all(Nlvr2Source(statements=[tmp_path / name], images=tmp_path))


def test_a_statement_refers_to_its_pair(tmp_path: Path) -> None:
    assert rows(read(tmp_path, LINE)) == [
        {
            "statement_id": "dev-850-0-1",
            "left_image_id": "nlvr2/dev-850-0-img0",
            "right_image_id": "nlvr2/dev-850-0-img1",
            "statement": "Two dogs.",
            "label": True,
            "split": "dev",
        }
    ]


@pytest.mark.parametrize(("name", "split"), [("train.json", "train"), ("balanced_test1.json", "test1")])
def test_the_files_name_says_the_split(tmp_path: Path, name: str, split: str) -> None:
    assert [row["split"] for row in rows(read(tmp_path, LINE, name=name))] == [split]


@pytest.mark.parametrize("place", ["", "train", "train/63", "images", "images/train/63"])
def test_official_sub_folders_are_looked_into(tmp_path: Path, place: str) -> None:
    [found] = annotations(read(tmp_path, {**LINE, "identifier": "train-1-0-0", "directory": 63}, name="train.json"))
    assert tmp_path / place / "train-1-0-img0.png" in found.pictures[0].candidates
    assert tmp_path / place / "train-1-0-img1.png" in found.pictures[1].candidates


@pytest.mark.parametrize(
    ("given", "label"),
    [({"label": "False"}, False), ({"label": True}, True), ({}, None), ({"label": None}, None)],
)
def test_labels_are_true_false_or_withheld(tmp_path: Path, given: dict[str, Any], label: bool | None) -> None:
    line = {"identifier": "test2-1-0-0", "sentence": "x", **given}
    assert [row["label"] for row in rows(read(tmp_path, line, name="test2.json"))] == [label]


@pytest.mark.parametrize(
    ("line", "row_id", "reason"),
    [
        ({**LINE, "identifier": "dev-1-0-0", "label": "yes"}, "dev-1-0-0", "wrong_label"),
        ({**LINE, "identifier": "dev-1-0-0", "label": 1}, "dev-1-0-0", "wrong_label"),
        ({**LINE, "identifier": "dev-1-0-0", "label": ["True"]}, "dev-1-0-0", "wrong_label"),
        (LINE, "dev-850-0-1", "duplicate_id"),
        ({**LINE, "identifier": "dev"}, "dev", "bad_record"),
        ({**LINE, "identifier": "../dev-1-0-0"}, "../dev-1-0-0", "path_outside"),
        ({"identifier": "dev-1-0-0", "label": "True"}, "dev-1-0-0", "bad_record"),
        ('{"identifier": "dev-1-0-0", "lab', "dev.json, line 2", "not_json"),
        ("[]", "dev.json, line 2", "bad_record"),
        ('{"identifier": ' + "1" * 5000 + "}", "dev.json, line 2", "not_json"),
        ("[" * 100_000, "dev.json, line 2", "not_json"),
        ('{"identifier": "dev-\\ud800-0"}', "dev-\\ud800-0", "bad_record"),
    ],
)
def test_a_wrong_line_is_rejected_and_the_rest_read(
    tmp_path: Path, line: dict[str, Any] | str, row_id: str, reason: str
) -> None:
    found = read(tmp_path, LINE, line, {**LINE, "identifier": "dev-2-0-0"})
    assert reasons(found) == [(row_id, reason)]
    assert [row["statement_id"] for row in rows(found)] == ["dev-850-0-1", "dev-2-0-0"]


def test_a_file_that_is_not_named_after_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not named after its split"):
        read(tmp_path, LINE, name="nlvr2.json")
