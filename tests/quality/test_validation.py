import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eve_core.config import CocoCaptionsSource, Nlvr2Source, ValidationConfig, VqaV2Source
from eve_core.data.prepare import prepare_set
from eve_core.data.prepared import PreparedData
from eve_core.data.records import SCHEMAS
from eve_core.errors import UserError
from eve_core.quality import ValidationReport, validate_data
from eve_core.quality.suites import SUITES
from tests.quality.conftest import Prepare, caption, good_rows, picture, question, statement

IN_SET, BETWEEN, REGEX = (f"expect_column_values_to_{kind}" for kind in ("be_in_set", "be_between", "match_regex"))


def broken(report: ValidationReport) -> list[tuple[str, str, str, int, list[str]]]:
    return [
        (result.severity, result.expectation, result.column, result.unexpected_count, result.example_rows)
        for result in report.results
        if not result.passed
    ]


def test_good_data_passes_on_every_table(prepare: Prepare, tmp_path: Path) -> None:
    report = validate_data(prepare(good_rows()), ValidationConfig(), tmp_path / "report")
    assert report.passed, report.stops
    assert not report.warnings
    assert report.quarantined == 0
    report.raise_if_failed()
    assert {result.table for result in report.results} == {
        "columns of all_tables",
        "splits of all_sets",
        "images of coco",
        "images of nlvr2",
        "captions of coco_captions",
        "questions of visual_genome_qa",
        "questions of vqa_v2",
        "statements of nlvr2",
    }
    assert report.skipped == []


BROKEN: dict[str, tuple[tuple[str, str, str | None], dict[str, Any], tuple[str, str, str, int, list[str]]]] = {
    "an id twice": (
        ("images", "coco", None),
        picture("coco/0", sha256="0" * 64, phash=b"0" * 32),
        ("critical", IN_SET, "id_repeated", 2, ["coco/0", "coco/0"]),
    ),
    "an id without namespace": (
        ("images", "coco", None),
        picture("coco/7") | {"image_id": "7"},
        ("critical", REGEX, "image_id", 1, ["7"]),
    ),
    "too high": (
        ("images", "coco", None),
        picture("coco/7", width=20000, height=20001),
        ("critical", BETWEEN, "height", 1, ["coco/7"]),
    ),
    "a format that is not decoded": (
        ("images", "coco", None),
        picture("coco/7", format="PDF"),
        ("critical", IN_SET, "format", 1, ["coco/7"]),
    ),
    "no hash": (
        ("images", "coco", None),
        picture("coco/7", sha256="abc"),
        ("critical", REGEX, "sha256", 1, ["coco/7"]),
    ),
    "a spacer": (
        ("images", "coco", None),
        picture("coco/7", width=15, height=15),
        ("warning", BETWEEN, "short_side", 1, ["coco/7"]),
    ),
    "a banner": (
        ("images", "coco", None),
        picture("coco/7", width=500, height=100),
        ("warning", BETWEEN, "aspect_ratio", 1, ["coco/7"]),
    ),
    "a copy with another hash of its looks": (
        ("images", "coco", None),
        picture("coco/7", sha256=picture("coco/0")["sha256"]),
        ("warning", IN_SET, "has_copy", 2, ["coco/0", "coco/7"]),
    ),
    "a caption id twice": (
        ("captions", "coco_captions", "val"),
        caption("1", "coco/3", split="val"),
        ("critical", IN_SET, "id_repeated", 2, ["1", "1"]),
    ),
    "a blank caption": (
        ("captions", "visual_genome", "train"),
        caption("9", "coco/0", caption=" \n\t"),
        ("quarantine", BETWEEN, "words", 1, ["9"]),
    ),
    "a caption of one word": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption="circle"),
        ("quarantine", BETWEEN, "words", 1, ["9"]),
    ),
    "a caption too long": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption=f"{'circling' * 6} " * 21),
        ("quarantine", BETWEEN, "characters", 1, ["9"]),
    ),
    "a caption that is a web address": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption="seen on www.example.org"),
        ("quarantine", IN_SET, "has_url", 1, ["9"]),
    ),
    "a caption with HTML": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption="a <b>red</b> circle"),
        ("quarantine", IN_SET, "has_tag", 1, ["9"]),
    ),
    "a caption in capitals": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/0", caption="A RED CIRCLE"),
        ("warning", IN_SET, "shouted", 1, ["9"]),
    ),
    "an unknown split": (
        ("captions", "coco_captions", "valid"),
        caption("9", "coco/5", split="valid"),
        ("critical", IN_SET, "split", 1, ["9"]),
    ),
    "a caption without its picture": (
        ("captions", "coco_captions", "train"),
        caption("9", "coco/404"),
        ("critical", IN_SET, "image_known", 1, ["9"]),
    ),
    "a question id twice": (
        ("questions", "vqa_v2", "train"),
        question(3, "coco/0"),
        ("critical", IN_SET, "id_repeated", 2, ["3", "3"]),
    ),
    "a question without a letter": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", question="12 34 ?"),
        ("quarantine", BETWEEN, "letter_share", 1, ["9"]),
    ),
    "nine answers": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answers=["red"] * 9),
        ("quarantine", IN_SET, "answer_count", 1, ["9"]),
    ),
    "no answers where they are public": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answers=[]),
        ("quarantine", IN_SET, "answer_count", 1, ["9"]),
    ),
    "two answers of Visual Genome": (
        ("questions", "visual_genome_qa", "train"),
        question(9, "coco/0", answers=["red", "blue"]),
        ("quarantine", IN_SET, "answer_count", 1, ["9"]),
    ),
    "blank answers": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answers=["red"] * 8 + [" ", ""]),
        ("quarantine", IN_SET, "blank_answers", 1, ["9"]),
    ),
    "an unknown answer type": (
        ("questions", "vqa_v2", "train"),
        question(9, "coco/0", answer_type="colour"),
        ("quarantine", IN_SET, "answer_type", 1, ["9"]),
    ),
    "a question without its picture": (
        ("questions", "vqa_v2", "test"),
        question(9, "coco/404", split="test"),
        ("critical", IN_SET, "image_known", 1, ["9"]),
    ),
    "a statement id twice": (
        ("statements", "nlvr2", "train"),
        statement("b", "nlvr2/0", "nlvr2/1"),
        ("critical", IN_SET, "id_repeated", 2, ["b", "b"]),
    ),
    "a statement without a label where it is public": (
        ("statements", "nlvr2", "dev"),
        statement("z", "nlvr2/3", "nlvr2/3", split="dev", label=None),
        ("quarantine", IN_SET, "label_known", 1, ["z"]),
    ),
    "no left picture": (
        ("statements", "nlvr2", "train"),
        statement("z", "nlvr2/404", "nlvr2/1"),
        ("critical", IN_SET, "left_image_known", 1, ["z"]),
    ),
    "no right picture": (
        ("statements", "nlvr2", "train"),
        statement("z", "nlvr2/1", "coco/404"),
        ("critical", IN_SET, "right_image_known", 1, ["z"]),
    ),
    "leakage: a question's picture is trained on": (
        ("questions", "vqa_v2", "test"),
        question(9, "coco/0", split="test"),
        ("critical", IN_SET, "picture_trained_on", 1, ["9"]),
    ),
    "leakage: a caption's picture is trained on": (
        ("captions", "coco_captions", "test"),
        caption("9", "coco/0", split="test"),
        ("critical", IN_SET, "picture_trained_on", 1, ["9"]),
    ),
    "leakage: the right picture of a pair was a left picture in training": (
        ("statements", "nlvr2", "dev"),
        statement("z", "nlvr2/3", "nlvr2/0", split="dev"),
        ("critical", IN_SET, "picture_trained_on", 1, ["z"]),
    ),
}


@pytest.mark.usefixtures("_no_data_docs")
@pytest.mark.parametrize("defect", BROKEN)
def test_each_defect_fails_its_own_expectation_and_no_other(prepare: Prepare, tmp_path: Path, defect: str) -> None:
    place, row, expected = BROKEN[defect]
    rows = good_rows()
    rows.setdefault(place, []).append(row)
    report = validate_data(prepare(rows), ValidationConfig(enabled_suites=[place[0]]), tmp_path / "report")
    assert set(map(repr, broken(report))) == {repr(expected)}
    assert report.passed is (expected[0] == "warning")
    assert bool(report.warnings) is (expected[0] == "warning")


def test_a_blank_caption_is_blank_in_every_script(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["captions", "coco_captions", "train"].append(caption("9", "coco/0", caption="\u00a0\u3000"))
    report = validate_data(prepare(rows), ValidationConfig(enabled_suites=["captions"]), tmp_path / "report")
    assert report.quarantine[0].reasons == {"blank": 1}


def test_ten_captions_of_a_picture_are_allowed_and_eleven_warn(prepare: Prepare, tmp_path: Path) -> None:
    rows, config = good_rows(), ValidationConfig(enabled_suites=["captions"])
    train = rows["captions", "coco_captions", "train"]
    train += [caption(f"c{number}", "coco/0") for number in range(9)]
    assert not validate_data(prepare(rows), config, tmp_path / "ten").warnings
    train.append(caption("eleventh", "coco/0"))
    (warning,) = validate_data(prepare(rows), config, tmp_path / "eleven").warnings
    assert warning.startswith("captions of coco_captions: expect_column_values_to_be_between on rows_of_picture")


@pytest.mark.parametrize(
    ("table", "offending"),
    [
        ({"caption_id": ["1"], "image_id": ["coco/0"], "split": ["train"]}, ["caption"]),
        ({"caption_id": ["1"], "image_id": ["coco/0"], "caption": [7], "split": ["train"]}, ["caption"]),
        ({"caption_id": ["1"], "image_id": ["coco/0"], "caption": ["a b"], "split": ["train"], "url": ["a"]}, ["url"]),
        ({"caption_id": ["1"], "image_id": ["coco/0"], "caption": ["a b"], "split": [None]}, ["split"]),
    ],
)
def test_a_shard_with_other_columns_stops_before_it_is_read(
    prepare: Prepare, tmp_path: Path, table: dict[str, list[Any]], offending: list[str]
) -> None:
    data = prepare(good_rows())
    declared = {field.name: field for field in SCHEMAS["captions"]}
    fields = [
        declared[name] if name not in offending else pa.field(name, pa.array(values).type)
        for name, values in table.items()
    ]
    shard = next(shard for shard in data.manifest.shards if shard.table == "captions")
    pq.write_table(pa.table(table, schema=pa.schema(fields)), data.path / shard.path)
    report = validate_data(data, ValidationConfig(), tmp_path / "report")
    wrong = [f"captions of coco_captions/{name}" for name in offending]
    assert broken(report) == [("critical", IN_SET, "as_declared", len(wrong), wrong)]
    assert {result.suite for result in report.results} == {"columns"}
    assert "Failed: 1 reason to stop" in report.page.read_text()


def test_a_split_without_rows_fails(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["captions", "coco_captions", "test"] = []
    report = validate_data(prepare(rows), ValidationConfig(enabled_suites=["splits"]), tmp_path / "report")
    assert broken(report) == [("critical", BETWEEN, "rows", 1, ["coco_captions/test"])]


def test_rows_that_the_manifest_does_not_know_fail(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(good_rows())
    data.manifest.sets["coco_captions"].counts["val"] = 7
    report = validate_data(data, ValidationConfig(enabled_suites=["splits", "captions"]), tmp_path / "report")
    assert broken(report) == [("critical", IN_SET, "rows_as_recorded", 1, ["coco_captions/val"])]
    unread = validate_data(data, ValidationConfig(enabled_suites=["splits"]), tmp_path / "report")
    assert unread.passed


def test_split_shares_are_held_against_the_expected_ones(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(good_rows())  # two thirds of coco_captions are its training split

    def failing(shares: dict[str, dict[str, float]]) -> list[str]:
        config = ValidationConfig(enabled_suites=["splits"], split_shares=shares)
        report = validate_data(data, config, tmp_path / "report")
        return [row for result in report.failures for row in result.example_rows]

    assert failing({"coco_captions": {"train": 0.66, "val": 0.34}}) == []
    assert failing({"coco_captions": {"train": 0.63}}) == ["coco_captions/train"]
    assert failing({"coco_captions": {"test": 0.1}}) == ["coco_captions/test", "coco_captions/test"]
    assert failing({"sbu": {"train": 1.0}}) == ["sbu/train", "sbu/train"]


def test_the_same_bytes_under_another_id_warn_and_do_not_stop(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["images", "coco", None].append(picture("coco/copy", sha256=picture("coco/0")["sha256"]))
    rows["questions", "vqa_v2", "test"].append(question(9, "coco/copy", split="test"))
    report = validate_data(prepare(rows), ValidationConfig(), tmp_path / "report")
    report.raise_if_failed()
    assert broken(report) == [
        ("warning", IN_SET, "has_copy", 2, ["coco/0", "coco/copy"]),
        ("warning", IN_SET, "copy_trained_on", 1, ["9"]),
    ]


def test_the_error_names_expectation_table_count_first_rows_and_page(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["captions", "coco_captions", "train"] += [caption(f"b{n}", f"coco/{n + 40}") for n in range(30)]
    rows["questions", "vqa_v2", "train"].append(question(9, "coco/404"))
    report = validate_data(
        prepare(rows),
        ValidationConfig(enabled_suites=["captions", "questions"], rows_in_message=3),
        tmp_path / "report",
    )
    with pytest.raises(UserError) as caught:
        report.raise_if_failed()
    message = str(caught.value)
    expected = "captions of coco_captions: expect_column_values_to_be_in_set on image_known failed on 30 of 33 rows"
    assert f"{expected} (b0, b1, b2, ...)" in message
    assert "questions of vqa_v2: expect_column_values_to_be_in_set on image_known failed on 1 of 4 rows (9)" in message
    assert str(tmp_path / "report" / "index.html") in message
    assert "\n" not in message


def test_report_json_holds_every_expectation(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["questions", "vqa_v2", "train"].append(question(9, "coco/404"))
    data = prepare(rows)
    report = validate_data(data, ValidationConfig(), tmp_path / "report")
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["data_digest"] == data.digest
    assert content["passed"] is False
    assert content["stops"] == report.stops
    assert len(content["expectations"]) == len(report.results)
    (failed,) = [entry for entry in content["expectations"] if not entry["passed"]]
    assert failed["table"] == "questions of vqa_v2"
    assert failed["suite"] == "questions"
    assert failed["observed"] == [False]
    assert failed["unexpected_count"] == 1
    assert failed["example_rows"] == ["9"]
    assert failed["why"]


def test_pages_stand_alone_and_have_no_broken_link(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["captions", "coco_captions", "train"].append(caption("<script>alert(1)</script>", "coco/404", caption="<i>"))
    report = validate_data(prepare(rows), ValidationConfig(), tmp_path / "report")
    index = report.page.read_text()
    assert "<h1>EVE data validation</h1>" in index
    assert "Failed: 2 reasons to stop" in index
    assert "&lt;script&gt;alert(1)" in index
    for table in {result.table for result in report.results}:
        assert f"<h3>{table}</h3>" in index
    pages = list((tmp_path / "report").rglob("*.html"))
    assert len(pages) == 1 + 8 + 8  # ours, the suites, the tables
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert not re.search(r"https?://", text), page
        for link in re.findall(r'(?:href|src)="([^"#]+)', text):
            assert (page.parent / link).resolve().is_file(), f"{link} in {page}"
        assert "EVE data validation" in text


def test_the_page_counts_leaks_and_copies(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["images", "coco", None].append(picture("coco/7", phash=picture("coco/0")["phash"]))
    rows["captions", "coco_captions", "val"].append(caption("9", "coco/0", split="val"))
    data = prepare(rows)
    data.manifest.sets["vqa_v2"].quarantined["leaks_into_nlvr2_dev"] = 3
    config = ValidationConfig(enabled_suites=["images", "captions"])
    page = validate_data(data, config, tmp_path / "report").page.read_text()
    found = re.findall(r'<tr><td>(.*)</td><td class="number">(\d+)</td><td>(.*)</td></tr>', page)
    assert found == [
        ("rows left out on preparation: leaks into nlvr2 dev", "3", "vqa_v2: 3"),
        ("rows whose picture the same set trains on", "1", "captions of coco_captions: 1"),
        ("rows whose picture is trained on under another id", "0", ""),
        ("pictures with the bytes of another one", "0", ""),
        ("pictures with the perceptual hash of another one", "2", "images of coco: 2"),
    ]


def test_validating_again_gives_the_same_report(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(good_rows())

    def files() -> dict[str, Any]:
        report = validate_data(data, ValidationConfig(enabled_suites=["captions", "splits"]), tmp_path / "report")
        found = {path.name: path.read_text() for path in report.folder.glob("*.json")}
        return found | {"pages": len([*report.folder.rglob("*.html")])}

    assert files() == files()


def test_a_table_of_several_parts_is_reported_as_one(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eve_core.quality.checkpoint._ROWS_AT_ONCE", 4)
    rows = good_rows()
    train = rows["captions", "coco_captions", "train"]
    train += [caption(f"c{number}", f"coco/{number % 3 + 3}") for number in range(8)]
    train[5]["caption"], train[9]["caption"] = "one", "WE ARE LOUD"
    train.append(caption("c0", "coco/5"))
    report = validate_data(prepare(rows), ValidationConfig(enabled_suites=["captions"]), tmp_path / "report")
    assert [entry[2:] for entry in broken(report)] == [
        ("id_repeated", 2, ["c0", "c0"]),
        ("shouted", 1, ["c7"]),
        ("words", 1, ["c3"]),
    ]
    assert {result.rows for result in report.results} == {12}
    assert report.page.read_text().count("data docs\nof rows") == 3


def test_what_the_data_does_not_hold_is_skipped_and_said(prepare: Prepare, tmp_path: Path) -> None:
    rows = {place: table for place, table in good_rows().items() if place[1] in ("coco", "coco_captions")}
    report = validate_data(
        prepare(rows), ValidationConfig(enabled_suites=["captions", "statements"]), tmp_path / "report"
    )
    assert report.skipped == ["statements"]
    assert {result.suite for result in report.results} == {"captions"}
    assert "Skipped, for the data holds no such table: statements." in report.page.read_text()


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
    assert report.quarantined == 0
    assert {result.suite for result in report.results} == set(SUITES)


def test_great_expectations_analytics_are_off(tmp_path: Path) -> None:
    from eve_core.quality.checkpoint import quiet_context

    context = quiet_context(tmp_path / "site")
    assert context.config.analytics_enabled is False
    assert list(context.config.data_docs_sites) == ["prepared data"]
