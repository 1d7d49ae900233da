from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.records import SCHEMAS
from eve_core.errors import UserError
from eve_core.quality import validate_data
from tests.quality.conftest import Prepare, Rows, caption, good_rows, question

pytestmark = pytest.mark.usefixtures("_no_data_docs")


def with_faults() -> Rows:
    rows = good_rows()
    train = rows["captions", "coco_captions", "train"]
    train += [caption(f"good{number}", f"coco/{number % 3 + 3}") for number in range(95)]
    train += [caption("blank", "coco/0", caption=" "), caption("address", "coco/1", caption="http://a.b")]
    rows["questions", "vqa_v2", "train"].append(question(7, "coco/0", answers=["red"] * 11))
    return rows


ANNOTATIONS = ["captions", "questions"]
LENIENT = ValidationConfig(enabled_suites=ANNOTATIONS, quarantine_budget=0.5)


def test_faulty_rows_are_kept_with_set_split_reason_and_detail(prepare: Prepare, tmp_path: Path) -> None:
    report = validate_data(prepare(with_faults()), LENIENT, tmp_path / "report")
    report.raise_if_failed()
    quarantine = pq.read_table(tmp_path / "report" / "quarantine.parquet")
    assert quarantine.schema.names == [*SCHEMAS["quarantine"].names, "set"]
    assert quarantine.to_pylist() == [
        {"row_id": "blank", "split": "train", "reason": "blank", "detail": "words is 0:  ", "set": "coco_captions"},
        {
            "row_id": "address",
            "split": "train",
            "reason": "web_address",
            "detail": "has_url is True: http://a.b",
            "set": "coco_captions",
        },
        {
            "row_id": "7",
            "split": "train",
            "reason": "answer_count",
            "detail": "answer_count is 11: What colour is the circle?",
            "set": "vqa_v2",
        },
    ]
    captions, others, questions = report.quarantine
    assert (captions.table, captions.quarantined, captions.rows) == ("captions of coco_captions", 2, 100)
    assert captions.reasons == {"blank": 1, "web_address": 1}
    assert questions.reasons == {"answer_count": 1}
    assert (others.quarantined, others.reasons) == (0, {})


def test_readers_do_not_see_what_is_in_quarantine(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(with_faults())
    validate_data(data, LENIENT, tmp_path / "report")
    clean = PreparedData.open(data.path, quarantine=tmp_path / "report")
    assert {*data.table("captions")["caption_id"].to_pylist()} - {
        *clean.table("captions")["caption_id"].to_pylist()
    } == {
        "blank",
        "address",
    }
    assert 7 not in clean.table("questions")["question_id"].to_pylist()
    again = validate_data(clean, ValidationConfig(enabled_suites=ANNOTATIONS), tmp_path / "again")
    assert (again.passed, again.quarantined) == (True, 0)


def test_the_file_is_there_also_when_nothing_is_set_apart(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(good_rows())
    validate_data(data, ValidationConfig(enabled_suites=["captions"]), tmp_path / "report")
    assert pq.read_table(tmp_path / "report" / "quarantine.parquet").num_rows == 0
    clean = PreparedData.open(data.path, quarantine=tmp_path / "report")
    assert clean.table("captions").equals(data.table("captions"))


def test_the_budget_is_a_share_of_each_table(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(with_faults())  # 2 faulty captions of 100
    report = validate_data(
        data, ValidationConfig(enabled_suites=["captions"], quarantine_budget=0.02), tmp_path / "within"
    )
    assert (report.passed, report.quarantined) == (True, 2)
    report = validate_data(
        data, ValidationConfig(enabled_suites=["captions"], quarantine_budget=0.019), tmp_path / "beyond"
    )
    assert not report.failures  # no critical expectation: it is the budget that stops
    with pytest.raises(UserError, match=r"2 of 100 rows \(2.0%\) belong in quarantine \(blank 1, web_address 1\)"):
        report.raise_if_failed()
    assert "and is exceeded" in report.page.read_text()
    assert pq.read_table(tmp_path / "beyond" / "quarantine.parquet").num_rows == 2  # kept, to look at


def test_a_row_with_several_faults_is_set_apart_once_for_the_first(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["captions", "coco_captions", "train"].append(caption("9", "coco/0", caption="<b>www.a.org</b> ________ 12345"))
    report = validate_data(prepare(rows), LENIENT, tmp_path / "report")
    assert [result.column for result in report.results if not result.passed] == [
        "letter_share",
        "has_tag",
        "has_url",
        "repeats",
    ]
    assert pq.read_table(tmp_path / "report" / "quarantine.parquet")["reason"].to_pylist() == ["few_letters"]


def test_the_page_shows_both_quarantines(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(with_faults())
    data.manifest.sets["coco_captions"].quarantined["missing_picture"] = 3
    data.manifest.sets["coco_captions"].quarantined_examples["missing_picture"] = ["coco/17 is not there"]
    page = validate_data(data, LENIENT, tmp_path / "report").page.read_text()
    for shown in (
        "web address",
        "address: has_url is True: http://a.b",
        "missing picture",
    ):
        assert shown in page
    assert "coco/17 is not there" in page
