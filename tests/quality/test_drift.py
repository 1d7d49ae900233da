import json
from pathlib import Path

import numpy as np
import pytest

from eve_core.config import ValidationConfig
from eve_core.errors import UserError
from eve_core.quality import validate_data
from eve_core.quality.drift import jensen_shannon_distance
from tests.quality.conftest import Prepare, Rows, caption, good_rows, picture, question

pytestmark = pytest.mark.usefixtures("_no_data_docs")

MANY = (10**9, 10**9)


def test_the_distance_is_0_for_equal_and_1_for_disjoint_distributions() -> None:
    counts = np.array([3, 0, 5, 2])
    assert jensen_shannon_distance(counts, 4 * counts, MANY) == 0
    assert jensen_shannon_distance(np.array([9, 0]) * 10**6, np.array([0, 9]) * 10**6, MANY) == pytest.approx(
        1, abs=1e-3
    )
    here, there = np.array([40, 60]) * 10**6, np.array([60, 40]) * 10**6
    assert jensen_shannon_distance(here, there, MANY) == jensen_shannon_distance(there, here, MANY) > 0.1
    assert jensen_shannon_distance(here, here * 0, MANY) == 1


def test_the_distance_is_that_of_the_definition() -> None:
    p, q = np.array([0.2, 0.8]), np.array([0.5, 0.5])
    mean = (p + q) / 2
    expected = np.sqrt(0.5 * np.sum(p * np.log2(p / mean)) + 0.5 * np.sum(q * np.log2(q / mean)))
    assert jensen_shannon_distance(p * 1e12, q * 1e12, (10**12, 10**12)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rows", [30, 300, 3000])
def test_two_samples_of_one_distribution_do_not_drift(rows: int) -> None:
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(25))
    distances = [
        jensen_shannon_distance(rng.multinomial(rows, share), rng.multinomial(rows, share), (rows, rows))
        for _ in range(200)
    ]
    assert np.mean(np.array(distances) > 0.1) < 0.05


def world(words: int, answer: str, captions: int = 400) -> Rows:
    rows = good_rows()
    rows["images", "coco", None] += [picture(f"coco/{number}") for number in range(6, 6 + captions)]
    rows["captions", "coco_captions", "train"] = [
        caption(f"c{number}", f"coco/{number + 6}", caption="many words " * (words // 2)) for number in range(captions)
    ]
    rows["questions", "vqa_v2", "train"] = [
        question(100 + number, f"coco/{number + 6}", answers=[answer] * 10) for number in range(captions)
    ]
    return rows


def test_drift_of_lengths_and_answers_is_found_and_everything_else_stays(prepare: Prepare, tmp_path: Path) -> None:
    validate_data(prepare(world(words=8, answer="red")), ValidationConfig(), tmp_path / "before")
    report = validate_data(
        prepare(world(words=12, answer="blue")),
        ValidationConfig(drift_stop=1),
        tmp_path / "now",
        previous=tmp_path / "before",
    )
    drifted = {(drift.table, drift.statistic) for drift in report.drift if drift.verdict != "same"}
    assert drifted == {
        ("captions of coco_captions", "words"),
        ("captions of coco_captions", "characters"),
        ("questions of vqa_v2", "answers"),
    }
    assert report.passed
    assert len(report.warnings) == 3
    assert "captions of coco_captions: words drifted by" in report.page.read_text()


def test_drift_beyond_the_limit_stops(prepare: Prepare, tmp_path: Path) -> None:
    config = ValidationConfig(enabled_suites=["questions"])
    validate_data(prepare(world(words=8, answer="red")), config, tmp_path / "before")
    report = validate_data(
        prepare(world(words=8, answer="blue")), config, tmp_path / "now", previous=tmp_path / "before"
    )
    with pytest.raises(UserError, match=r"questions of vqa_v2: answers drifted by \d\.\d\d from the revision before"):
        report.raise_if_failed()


def test_equal_data_does_not_drift(prepare: Prepare, tmp_path: Path) -> None:
    data, config = prepare(world(words=8, answer="red")), ValidationConfig(enabled_suites=["questions"])
    validate_data(data, config, tmp_path / "before")
    report = validate_data(data, config, tmp_path / "now", previous=tmp_path / "before")
    assert {drift.distance for drift in report.drift} == {0}
    assert report.previous_digest == data.digest


def test_a_table_that_is_gone_warns_and_a_new_one_does_not(prepare: Prepare, tmp_path: Path) -> None:
    everything, config = good_rows(), ValidationConfig(enabled_suites=["captions", "statements"])
    less = {place: rows for place, rows in everything.items() if place[0] != "statements"}
    validate_data(prepare(everything), config, tmp_path / "all")
    gone = validate_data(prepare(less), config, tmp_path / "less", previous=tmp_path / "all")
    assert gone.passed
    assert gone.warnings == ["statements of nlvr2: 4 rows before, 0 now"]
    back = validate_data(prepare(everything), config, tmp_path / "back", previous=tmp_path / "less")
    assert not back.warnings
    assert ("statements of nlvr2", "rows") in {(drift.table, drift.statistic) for drift in back.drift}


def test_without_a_previous_report_the_page_says_so(prepare: Prepare, tmp_path: Path) -> None:
    report = validate_data(prepare(good_rows()), ValidationConfig(enabled_suites=["splits"]), tmp_path / "report")
    assert (report.drift, report.previous_digest) == ([], None)
    assert "There is no earlier validation to compare with." in report.page.read_text()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"tables": {}}'])
def test_a_previous_folder_that_is_no_report_is_refused(prepare: Prepare, tmp_path: Path, content: str | None) -> None:
    (tmp_path / "before").mkdir()
    if content is not None:
        (tmp_path / "before" / "statistics.json").write_text(content)
    with pytest.raises(UserError, match=r"previous validation cannot be read from .*statistics.json"):
        validate_data(prepare(good_rows()), ValidationConfig(), tmp_path / "now", previous=tmp_path / "before")


def test_statistics_are_those_of_the_rows(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["questions", "vqa_v2", "train"][0]["answers"] = ["yes"] * 4 + ["no"] * 6
    data = prepare(rows)
    validate_data(data, ValidationConfig(), tmp_path / "report")
    statistics = json.loads((tmp_path / "report" / "statistics.json").read_text())
    assert statistics["data_digest"] == data.digest
    assert set(statistics["tables"]) == {
        "images of coco",
        "images of nlvr2",
        "captions of coco_captions",
        "questions of visual_genome_qa",
        "questions of vqa_v2",
        "statements of nlvr2",
    }
    captions = statistics["tables"]["captions of coco_captions"]
    assert captions["rows"] == 3
    assert captions["numbers"]["words"]["mean"] == pytest.approx((3 + 100 + 3) / 3)
    assert captions["numbers"]["words"]["quantiles"]["0.5"] == 3
    assert sum(captions["numbers"]["words"]["counts"]) == 3
    assert captions["categories"]["split"] == {"values": {"train": 2, "val": 1}, "others": 0}
    answers = statistics["tables"]["questions of vqa_v2"]["categories"]["answers"]
    assert answers == {"values": {"red": 10, "no": 6, "yes": 4}, "others": 0}


def test_answers_at_the_end_of_the_list_do_not_drift(prepare: Prepare, tmp_path: Path) -> None:
    def answers(first: int) -> Rows:
        rows = good_rows()
        rows["questions", "vqa_v2", "train"] = [
            question(number + 10, "coco/0", answers=["yes"] * 5 + [f"rare {first + number % 300}"] * 5)
            for number in range(1500)
        ]
        return rows

    config = ValidationConfig(enabled_suites=["questions"])
    validate_data(prepare(answers(0)), config, tmp_path / "before")
    report = validate_data(prepare(answers(150)), config, tmp_path / "now", previous=tmp_path / "before")
    assert {drift.statistic: drift.verdict for drift in report.drift}["answers"] == "same"


def test_only_the_most_frequent_answers_are_kept_and_the_others_counted(prepare: Prepare, tmp_path: Path) -> None:
    rows = good_rows()
    rows["questions", "vqa_v2", "train"] = [
        question(number + 10, "coco/0", answers=[f"answer {number}"] * 10) for number in range(130)
    ]
    validate_data(prepare(rows), ValidationConfig(enabled_suites=["questions"]), tmp_path / "report")
    tables = json.loads((tmp_path / "report" / "statistics.json").read_text())["tables"]
    answers = tables["questions of vqa_v2"]["categories"]["answers"]
    assert len(answers["values"]) == 100
    assert answers["others"] == 300
