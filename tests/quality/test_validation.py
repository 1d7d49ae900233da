import hashlib
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import CocoCaptionsSource, Nlvr2Source, ValidationConfig, VqaV2Source
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.prepare import prepare_set
from eve_core.data.prepared import PreparedData
from eve_core.data.shards import ShardWriter
from eve_core.errors import UserError
from eve_core.quality import ValidationReport, validate_data

Rows = dict[tuple[str, str, str | None], list[dict[str, Any]]]


def picture(image_id: str, **changes: Any) -> dict[str, Any]:
    content = image_id.encode()
    row = {
        "image_id": image_id,
        "file_name": f"{image_id.split('/')[1]}.jpg",
        "width": 64,
        "height": 48,
        "format": "JPEG",
        "mode": "RGB",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": content,
    }
    return row | changes


def question(question_id: int, image_id: str, **changes: Any) -> dict[str, Any]:
    row = {
        "question_id": question_id,
        "image_id": image_id,
        "question": "What colour is the circle?",
        "question_type": "what color is the",
        "answer_type": "other",
        "answers": ["red"] * 10,
        "answer": "red",
        "split": "train",
    }
    return row | changes


def caption(caption_id: str, image_id: str, **changes: Any) -> dict[str, Any]:
    return {"caption_id": caption_id, "image_id": image_id, "caption": "a red circle", "split": "train"} | changes


def statement(statement_id: str, left: str, right: str, **changes: Any) -> dict[str, Any]:
    row = {
        "statement_id": statement_id,
        "left_image_id": left,
        "right_image_id": right,
        "statement": "Both pictures show a circle.",
        "label": True,
        "split": "train",
    }
    return row | changes


def good_rows() -> Rows:
    """A small data set of every kind that breaks no rule, near the edges of what is allowed."""
    return {
        ("images", "coco", None): [picture(f"coco/{number}") for number in range(6)]
        + [picture("coco/large", width=20000, height=1, format="PNG", mode="L")],
        ("images", "nlvr2", None): [picture(f"nlvr2/{number}") for number in range(4)],
        ("captions", "coco_captions", "train"): [caption("1", "coco/0"), caption("2", "coco/1", caption="x" * 1000)],
        ("captions", "coco_captions", "val"): [caption("4", "coco/2", split="val")],
        ("questions", "vqa_v2", "train"): [question(1, "coco/0"), question(2, "coco/1", answer_type="yes/no")],
        # An evaluation split of one set may well be trained on in another.
        ("questions", "vqa_v2", "test"): [
            question(3, "coco/2", split="test", answers=[], answer=None, answer_type=None, question_type=None)
        ],
        ("statements", "nlvr2", "train"): [statement("a", "nlvr2/0", "nlvr2/0"), statement("b", "nlvr2/0", "nlvr2/1")],
        ("statements", "nlvr2", "dev"): [statement("c", "nlvr2/2", "nlvr2/3", label=None, split="dev")],
    }


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[[Rows], PreparedData]:
    """Writes rows by (table, set, split) as a prepared folder."""

    def write(rows: Rows) -> PreparedData:
        folder = tmp_path / "prepared"
        shards, sets = [], {}
        for (table, set_name, split), table_rows in rows.items():
            with ShardWriter(folder, table, set_name, split) as writer:
                for row in table_rows:
                    writer.write(row)
            shards += writer.shards
            if split is not None:
                sets.setdefault(set_name, SetSummary()).counts[split] = len(table_rows)
        Manifest(shards=tuple(shards), sets=sets).write(folder)
        return PreparedData.open(folder)

    return write


Prepare = Callable[[Rows], PreparedData]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def failures(report: ValidationReport) -> list[tuple[str, str, str | None, int, list[str]]]:
    return [
        (result.table, result.expectation, result.column, result.unexpected_count, result.example_rows)
        for result in report.failures
    ]


def test_good_data_passes_on_every_table(prepare: Prepare, tmp_path: Path) -> None:
    report = validate_data(prepare(good_rows()), ValidationConfig(), tmp_path / "report")
    assert report.passed, report.failures
    assert not report.warnings
    report.raise_if_failed()
    assert {result.table for result in report.results} == {
        "images of coco",
        "images of nlvr2",
        "captions of coco_captions",
        "questions of vqa_v2",
        "statements of nlvr2",
    }
    assert report.skipped == []


BROKEN: dict[str, tuple[tuple[str, str, str | None], dict[str, Any], tuple[str, str, str | None, int, list[str]]]] = {
    "an id twice": (
        ("images", "coco", None),
        picture("coco/0"),
        ("images of coco", "expect_column_values_to_be_unique", "image_id", 2, ["coco/0", "coco/0"]),
    ),
    "an id without namespace": (
        ("images", "coco", None),
        picture("coco/7") | {"image_id": "7"},
        ("images of coco", "expect_column_values_to_match_regex", "image_id", 1, ["7"]),
    ),
    "no width": (
        ("images", "coco", None),
        picture("coco/7", width=0),
        ("images of coco", "expect_column_values_to_be_between", "width", 1, ["coco/7"]),
    ),
    "too high": (
        ("images", "coco", None),
        picture("coco/7", height=20001),
        ("images of coco", "expect_column_values_to_be_between", "height", 1, ["coco/7"]),
    ),
    "a format that is not decoded": (
        ("images", "coco", None),
        picture("coco/7", format="PDF"),
        ("images of coco", "expect_column_values_to_be_in_set", "format", 1, ["coco/7"]),
    ),
    "no hash": (
        ("images", "coco", None),
        picture("coco/7", sha256="abc"),
        ("images of coco", "expect_column_values_to_match_regex", "sha256", 1, ["coco/7"]),
    ),
    "a caption id twice": (
        ("captions", "coco_captions", "val"),
        caption("1", "coco/3", split="val"),
        ("captions of coco_captions", "expect_column_values_to_be_unique", "caption_id", 2, ["1", "1"]),
    ),
    "a blank caption": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption=" \n\t"),
        ("captions of coco_captions", "expect_column_values_to_match_regex", "caption", 1, ["9"]),
    ),
    "a caption too long": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption="x" * 1001),
        ("captions of coco_captions", "expect_column_value_lengths_to_be_between", "caption", 1, ["9"]),
    ),
    "an unknown split": (
        ("captions", "coco_captions", "valid"),
        caption("9", "coco/5", split="valid"),
        ("captions of coco_captions", "expect_column_values_to_be_in_set", "split", 1, ["9"]),
    ),
    "a caption without its picture": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/404"),
        ("captions of coco_captions", "expect_column_values_to_be_in_set", "image_known", 1, ["9"]),
    ),
    "a question id twice": (
        ("questions", "vqa_v2", "train"),
        question(3, "coco/0"),
        ("questions of vqa_v2", "expect_column_values_to_be_unique", "question_id", 2, ["3", "3"]),
    ),
    "a blank question": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", question="  "),
        ("questions of vqa_v2", "expect_column_values_to_match_regex", "question", 1, ["9"]),
    ),
    "nine answers": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answers=["red"] * 9),
        ("questions of vqa_v2", "expect_column_values_to_be_in_set", "answer_count", 1, ["9"]),
    ),
    "an unknown answer type": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answer_type="colour"),
        ("questions of vqa_v2", "expect_column_values_to_be_in_set", "answer_type", 1, ["9"]),
    ),
    "a question without its picture": (
        ("questions", "vqa_v2", "test"),
        question(9, "coco/404", split="test"),
        ("questions of vqa_v2", "expect_column_values_to_be_in_set", "image_known", 1, ["9"]),
    ),
    "a statement id twice": (
        ("statements", "nlvr2", "train"),
        statement("b", "nlvr2/0", "nlvr2/1"),
        ("statements of nlvr2", "expect_column_values_to_be_unique", "statement_id", 2, ["b", "b"]),
    ),
    "a blank statement": (
        ("statements", "nlvr2", "train"),
        statement("z", "nlvr2/0", "nlvr2/1", statement="\u00a0"),
        ("statements of nlvr2", "expect_column_values_to_match_regex", "statement", 1, ["z"]),
    ),
    "no left picture": (
        ("statements", "nlvr2", "train"),
        statement("z", "nlvr2/404", "nlvr2/1"),
        ("statements of nlvr2", "expect_column_values_to_be_in_set", "left_image_known", 1, ["z"]),
    ),
    "no right picture": (
        ("statements", "nlvr2", "train"),
        statement("z", "nlvr2/1", "coco/404"),
        ("statements of nlvr2", "expect_column_values_to_be_in_set", "right_image_known", 1, ["z"]),
    ),
    "leakage: a question's picture is trained on": (
        ("questions", "vqa_v2", "test"),
        question(9, "coco/0", split="test"),
        ("questions of vqa_v2", "expect_column_values_to_be_in_set", "picture_trained_on", 1, ["9"]),
    ),
    "leakage: a caption's picture is trained on": (
        ("captions", "coco_captions", "test"),
        caption("9", "coco/0", split="test"),
        ("captions of coco_captions", "expect_column_values_to_be_in_set", "picture_trained_on", 1, ["9"]),
    ),
    "leakage: the right picture of a pair was a left picture in training": (
        ("statements", "nlvr2", "dev"),
        statement("z", "nlvr2/3", "nlvr2/0", split="dev"),
        ("statements of nlvr2", "expect_column_values_to_be_in_set", "picture_trained_on", 1, ["z"]),
    ),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_each_defect_fails_its_own_expectation_and_no_other_of_its_kind(
    prepare: Prepare, tmp_path: Path, defect: str
) -> None:
    place, row, expected = BROKEN[defect]
    rows = good_rows()
    rows.setdefault(place, []).append(row)
    report = validate_data(prepare(rows), ValidationConfig(enabled_suites=[place[0]]), tmp_path / "report")
    assert failures(report) == [expected]


def test_a_set_without_rows_fails(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(good_rows())
    empty = data.table("captions", set="coco_captions").slice(0, 0)
    data.table = lambda kind, *, set=None, splits=None: empty  # type: ignore[method-assign,assignment]
    data.image_info = lambda: PreparedData.open(data.path).image_info()  # type: ignore[method-assign]
    report = validate_data(data, ValidationConfig(enabled_suites=["captions"]), tmp_path / "report")
    (failure,) = report.failures
    assert failure.expectation == "expect_table_row_count_to_be_between"
    with pytest.raises(UserError, match=r"captions of coco_captions: expect_table_row_count_\w+ failed \(observed 0\)"):
        report.raise_if_failed()


def test_the_same_bytes_under_another_id_warn_and_do_not_stop(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows[("images", "coco", None)].append(picture("coco/copy", sha256=picture("coco/0")["sha256"]))
    rows[("questions", "vqa_v2", "test")].append(question(9, "coco/copy", split="test"))
    report = validate_data(prepare(rows), ValidationConfig(), tmp_path / "report")
    assert report.passed
    report.raise_if_failed()
    assert [(warning.table, warning.column, warning.example_rows) for warning in report.warnings] == [
        ("questions of vqa_v2", "copy_trained_on", ["9"])
    ]


def test_the_error_names_expectation_table_count_first_rows_and_page(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows[("captions", "coco_captions", "train")] += [caption(f"b{n}", "coco/0", caption="") for n in range(30)]
    rows[("questions", "vqa_v2", "train")].append(question(9, "coco/0", answers=["red"] * 3))
    report = validate_data(prepare(rows), ValidationConfig(rows_in_message=3), tmp_path / "report")
    with pytest.raises(UserError) as caught:
        report.raise_if_failed()
    message = str(caught.value)
    assert (
        "captions of coco_captions: expect_column_values_to_match_regex on caption failed on 30 of 33 rows "
        "(b0, b1, b2, ...)" in message
    )
    assert "questions of vqa_v2: expect_column_values_to_be_in_set on answer_count failed on 1 of 4 rows (9)" in message
    assert str(tmp_path / "report" / "index.html") in message
    assert "\n" not in message


def test_report_json_holds_every_expectation(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows[("questions", "vqa_v2", "train")].append(question(9, "coco/0", answers=["red"] * 3))
    data = prepare(rows)
    report = validate_data(data, ValidationConfig(), tmp_path / "report")
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["data_digest"] == data.digest
    assert content["passed"] is False
    assert len(content["expectations"]) == len(report.results)
    (failed,) = [entry for entry in content["expectations"] if not entry["passed"]]
    assert failed["table"] == "questions of vqa_v2"
    assert failed["suite"] == "questions"
    assert failed["observed"] == [3]
    assert failed["unexpected_count"] == 1
    assert failed["example_rows"] == ["9"]
    assert failed["why"]


def test_data_docs_stand_alone_and_have_no_broken_link(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows[("captions", "coco_captions", "train")].append(caption("<script>alert(1)</script>", "coco/404"))
    report = validate_data(prepare(rows), ValidationConfig(), tmp_path / "report")
    index = report.data_docs.read_text()
    assert "<h1>EVE data validation</h1>" in index
    assert "Failed: 1 check did not hold" in index
    for table in {result.table for result in report.results}:
        assert f"<h2>{table}</h2>" in index
    pages = list((tmp_path / "report").rglob("*.html"))
    assert len(pages) == 1 + 4 + 5  # the summary, the suites, the tables
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert not re.search(r"https?://", text), page
        for link in re.findall(r'(?:href|src)="([^"#]+)', text):
            assert (page.parent / link).resolve().is_file(), f"{link} in {page}"
        assert "EVE data validation" in text


def test_what_the_data_does_not_hold_is_skipped_and_said(prepare: Prepare, tmp_path: Path) -> None:
    rows = {place: table for place, table in good_rows().items() if place[1] in ("coco", "coco_captions")}
    report = validate_data(
        prepare(rows), ValidationConfig(enabled_suites=["captions", "statements"]), tmp_path / "report"
    )
    assert report.skipped == ["statements"]
    assert {result.suite for result in report.results} == {"captions"}
    assert "Skipped, for the data holds no such table: statements." in report.data_docs.read_text()


def test_unknown_suite_is_named_with_the_known_ones(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'pictures'.*images, captions, questions, statements"):
        validate_data(prepare(good_rows()), ValidationConfig(enabled_suites=["pictures"]), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_report_replaces_a_report_and_nothing_else(prepare: Prepare, tmp_path: Path) -> None:
    data, config = prepare(good_rows()), ValidationConfig(enabled_suites=["images"])
    validate_data(data, config, tmp_path / "report")
    (tmp_path / "report" / "stale.html").touch()
    validate_data(data, config, tmp_path / "report")
    assert not (tmp_path / "report" / "stale.html").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds other files \(report.json is not among them\)"):
        validate_data(data, config, tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} == {"prepared", "report", "other"}  # nothing half-written


@pytest.mark.real_data
def test_samples_of_the_public_sets_pass(real_data: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    vqa = real_data / "vqa2"
    for source in (
        CocoCaptionsSource(annotations=[real_data / "coco/dataset_coco.json"], images=real_data / "coco/images"),
        VqaV2Source(
            questions=sorted(vqa.glob("v2_OpenEnded_*_questions.json")),
            annotations=sorted(vqa.glob("v2_mscoco_*_annotations.json")),
            images=real_data / "coco/images",
        ),
        Nlvr2Source(statements=[real_data / "nlvr2/dev.json"], images=real_data / "nlvr2/images"),
    ):
        prepare_set(source, prepared, allow_partial=True, progress=False)
    report = validate_data(PreparedData.open(prepared), ValidationConfig(), tmp_path / "report")
    report.raise_if_failed()
    assert {result.suite for result in report.results} == {"images", "captions", "questions", "statements"}


def test_great_expectations_analytics_are_off(tmp_path: Path) -> None:
    from eve_core.quality.validation import _quiet_context

    context = _quiet_context(tmp_path / "site")
    assert context.config.analytics_enabled is False
    assert list(context.config.data_docs_sites) == ["prepared data"]
