"""Coverage of an answer vocabulary, by hand."""

import pyarrow as pa
import pytest

from eve_core.config import RunConfig
from eve_core.errors import UserError
from eve_core.tasks.answer_coverage import coverage, describe_coverage, describe_difference, questions_of_run
from tests.config.test_run_config import MINIMAL


def rows(*questions: tuple[str | None, list[str]]) -> pa.Table:
    answers = pa.array([given for _, given in questions], pa.list_(pa.string()))
    return pa.table({"answer": pa.array([answer for answer, _ in questions], pa.string()), "answers": answers})


def test_shares_by_hand():
    table = rows(
        ("yes", ["yes"] * 10),
        ("no", ["no"] * 8 + ["yes"] * 2),
        ("zebra", ["zebra"] * 9 + ["yes"]),
        ("zebra", ["zebra"] * 10),
        (None, []),
    )
    measured = coverage(table, ["yes", "no"])
    assert (measured.questions, measured.known, measured.most_common_known) == (4, 3, 2)
    assert measured.best_accuracy == pytest.approx((1 + 1 + 0.9 / 3 + 0) / 4)


def test_the_best_answer_counts_and_not_the_most_common():
    answers = ["red"] * 4 + ["blue"] * 3 + ["green"] * 3
    only_blue, all_of_them = (
        coverage(rows(("red", answers)), ["blue"]),
        coverage(rows(("red", answers)), ["blue", "red"]),
    )
    assert 0 < only_blue.best_accuracy < all_of_them.best_accuracy == 1


def test_an_answer_that_the_metric_takes_for_another_is_known():
    """Annotators that all write the same are compared as they write: there the metric knows no other spelling."""
    spread, alike = rows(("one way", ["one way"] * 9 + ["no"])), rows(("one way", ["one way"] * 10))
    assert coverage(spread, ["1 way"]).best_accuracy == 1
    assert coverage(alike, ["1 way"]).known == 1
    assert coverage(alike, ["1 way"]).best_accuracy == 0


def test_questions_without_answers_have_no_coverage():
    assert coverage(rows((None, [])), ["yes"]).best_accuracy == 0


def test_people_get_a_table(capsys):
    from rich.console import Console

    table = rows(("yes", ["yes"] * 10), ("no", ["no"] * 10))
    Console(width=200).print(describe_coverage({"val": coverage(table, ["yes"])}))
    assert capsys.readouterr().out.count("50.00%") == 3


def test_two_vocabularies_are_compared():
    said = describe_difference(["a", "b", "c", "d"], ["b", *map(str, range(9))])
    assert "1 answers are in both: 25.00% of these 4, and 10.00% of the 10 to compare with" in said
    assert "only in these: 'a', 'c', 'd'" in said
    assert "'7' and 1 more" in said
    assert "only in those: none" in describe_difference(["a", "b"], ["a"])


def test_a_run_without_questions_has_no_answers():
    with pytest.raises(UserError, match="the run small has no task vqa"):
        questions_of_run(RunConfig.model_validate(MINIMAL))
