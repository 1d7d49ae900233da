"""VQA accuracy, against cases worked by hand and against the official evaluation on thousands of answers."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from eve_core.tasks.vqa_accuracy import normalize_answer, vqa_accuracy

RESULTS = Path(__file__).parents[1] / "fixtures" / "golden" / "vqa_valid_results.json.gz"


@pytest.mark.parametrize(
    ("matching", "accuracy"),
    # Leaving out one of ten annotators: of m who agree, m leave-outs see m - 1 of them and the others see m.
    [(0, 0.0), (1, 0.9 / 3), (2, (2 * 1 + 8 * 2) / 30), (3, (3 * 2 + 7 * 3) / 30), (4, 1.0), (10, 1.0)],
)
def test_an_answer_counts_as_far_as_others_gave_it(matching, accuracy):
    answers = ["dog"] * matching + [f"other {i}" for i in range(10 - matching)]
    assert vqa_accuracy("dog", answers) == pytest.approx(accuracy)


def test_the_official_program_stops_at_32_periods():
    assert normalize_answer("yes" + "." * 32) == "yes"
    assert normalize_answer("yes" + "." * 40) == "yes........"


def test_texts_are_normalised_only_where_the_annotators_differ():
    assert vqa_accuracy("A dog!", ["dog"] * 9 + ["cat"]) == 1.0
    assert vqa_accuracy("A dog!", ["dog"] * 10) == 0.0
    assert vqa_accuracy(" dog\n", ["dog"] * 10) == 1.0


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("A Dog", "dog"),
        ("the man and an apple", "man and apple"),
        ("Two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("twenty one", "twenty 1"),
        # A mark that touches a space is deleted, any other becomes a space.
        ("black-white", "black white"),
        ("black- white", "black white"),
        ("t-shirt -blue", "tshirt blue"),
        ("what?", "what"),
        ("10,000", "10000"),
        ("10,000-20,000", "1000020000"),
        ("red,blue", "red blue"),
        # A period goes, except before a digit.
        ("st. louis", "st louis"),
        ("u.s.a.", "usa"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("5.", "5"),
        # Apostrophes that were left out come back, and none is taken away.
        ("dont", "don't"),
        ("don't", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("its", "its"),
        ("\tyes \n", "yes"),
        ("", ""),
    ],
)
def test_normal_forms(answer, normal):
    assert normalize_answer(answer) == normal


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        ("results", {"overall": 70.1805, "yes/no": 67.9572, "number": 74.1011, "other": 68.5561}),
        ("first annotator", {"overall": 87.2229, "yes/no": 96.9969, "number": 87.3033, "other": 77.8001}),
        ("always yes", {"overall": 20.8477, "yes/no": 62.1921, "number": 0.2035, "other": 1.0610}),
    ],
)
def test_equals_the_official_evaluation_to_four_digits(real_data, predict, expected):
    path = real_data / "vqa2" / "text_only_60k" / "annotations_valid.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    annotations = json.loads(gzip.decompress(path.read_bytes()))["annotations"]
    results = {row["question_id"]: row["answer"] for row in json.loads(gzip.decompress(RESULTS.read_bytes()))}
    predictors: dict[str, Callable[[dict], str]] = {
        "results": lambda row: results[row["question_id"]],
        "first annotator": lambda row: row["answers"][0]["answer"],
        "always yes": lambda row: "yes",
    }
    scores = defaultdict(list)
    for row in annotations:
        accuracy = vqa_accuracy(predictors[predict](row), [answer["answer"] for answer in row["answers"]])
        for group in ("overall", row["answer_type"]):
            scores[group].append(accuracy)
    assert len(scores["overall"]) == 8977
    assert {group: round(100 * sum(values) / len(values), 4) for group, values in scores.items()} == expected
