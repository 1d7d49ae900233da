"""The gate blesses exactly the candidates that reach its floors, its item count and its gain over the champion."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eve_core.config.evaluation import GateConfig
from eve_core.errors import UserError
from eve_core.evaluation.gate import ScoredModel, Scores, decide, read_scores

GATE = GateConfig(floors=[{"metric": "accuracy", "at_least": 0.5}], metric="accuracy", min_gain=0.1, min_items=10)


def scores(accuracy=0.7, champion=0.5, items=10):
    return Scores(
        task="vqa",
        items=items,
        test_digest="t",
        data_digest="d",
        data_revision="r",
        candidate=ScoredModel("new", {} if accuracy is None else {"accuracy": accuracy}),
        champion=None if champion is None else ScoredModel("old", {"accuracy": champion}, "3"),
    )


def judge(**found):
    return decide(scores(**found), GATE, code_revision="c")


def test_a_candidate_that_beats_the_champion_by_the_margin_is_blessed():
    blessing = judge(accuracy=0.7, champion=0.5)
    assert blessing.blessed
    assert blessing.reasons == ()
    assert (blessing.model_digest, blessing.champion_version, blessing.champion_digest) == ("new", "3", "old")


def test_a_gain_of_exactly_the_margin_is_enough():
    assert GATE.min_gain > 0.7 - 0.6  # in floating point
    assert judge(accuracy=0.7, champion=0.6).blessed


def test_an_equal_candidate_passes_a_gate_without_margin():
    gate = GATE.model_copy(update={"min_gain": 0.0})
    assert decide(scores(accuracy=0.6, champion=0.6), gate, code_revision="c").blessed


@pytest.mark.parametrize("champion", [0.65, 0.7, 0.9])
def test_a_candidate_that_gains_too_little_is_refused(champion):
    blessing = judge(accuracy=0.7, champion=champion)
    assert not blessing.blessed
    (reason,) = blessing.reasons
    assert "champion 3" in reason
    assert "less than the asked +0.1" in reason


def test_without_a_champion_the_floors_decide_and_it_is_said():
    blessing = judge(champion=None)
    assert blessing.blessed
    assert blessing.champion_version is None
    assert "no champion: floors only" in [check.sentence for check in blessing.checks]
    assert not judge(accuracy=0.4, champion=None).blessed


def test_a_floor_holds_even_for_a_candidate_that_beats_the_champion():
    blessing = judge(accuracy=0.4, champion=0.1)
    assert blessing.reasons == ("accuracy 0.4 is below 0.5",)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    blessing = judge(accuracy=value)
    assert not blessing.blessed
    assert "no finite number" in blessing.reasons[0]
    assert blessing.metrics == {"accuracy": None}
    json.dumps(blessing.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_champion_without_a_finite_number_is_no_baseline(value):
    (reason,) = judge(champion=value).reasons
    assert reason.startswith("the champion's accuracy is")


def test_a_missing_metric_is_refused():
    assert judge(accuracy=None).reasons[0] == "the candidate's accuracy was not measured"


def test_too_few_items_carry_no_verdict():
    assert judge(items=9).reasons == ("9 items were scored, fewer than the 10 that a verdict needs",)


def write(folder, rows=10, **changes):
    content = {
        "format": 1,
        "task": "vqa",
        "items": 10,
        "test_digest": "t",
        "data_digest": "d",
        "data_revision": "r",
        "candidate": {"model_digest": "new", "metrics": {"accuracy": 0.7}},
        "champion": {"version": "3", "model_digest": "old", "metrics": {"accuracy": 0.5}},
        **changes,
    }
    content = {key: value for key, value in content.items() if value != "absent"}
    (folder / "scores.json").write_text(json.dumps(content))
    columns = {"item_id": [str(i) for i in range(rows)], "image_id": ["a"] * rows, "candidate": [1.0] * rows}
    pq.write_table(pa.table({**columns, "champion": [None] * rows}), folder / "items.parquet")
    return folder


def test_a_scores_folder_is_read_as_written(tmp_path):
    assert read_scores(write(tmp_path)) == scores()
    assert read_scores(write(tmp_path, champion=None)).champion is None


def test_nan_in_a_scores_file_reaches_the_gate(tmp_path):
    folder = write(tmp_path, candidate={"model_digest": "new", "metrics": {"accuracy": math.nan}})
    assert not decide(read_scores(folder), GATE, code_revision="c").blessed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 1"),
        ({"task": "captioning"}, "names no task"),
        ({"items": "10"}, "whole number"),
        ({"items": 11}, "11 items but items.parquet has 10"),
        ({"test_digest": "absent"}, "test_digest"),
        ({"data_revision": ""}, "data_revision"),
        ({"candidate": "absent"}, "no candidate"),
        ({"champion": "absent"}, "no champion"),
        ({"champion": {"model_digest": "old", "metrics": {"accuracy": 0.5}}}, "version"),
        ({"candidate": {"model_digest": "new", "metrics": {"accuracy": "0.7"}}}, "accuracy is no number"),
        ({"candidate": {"model_digest": "new", "metrics": {"accuracy": True}}}, "accuracy is no number"),
        ({"candidate": {"model_digest": "new", "metrics": {"accuracy": None}}}, "accuracy is no number"),
    ],
)
def test_a_malformed_scores_file_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_scores(write(tmp_path, **changes))


def test_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"scores\.json does not exist"):
        read_scores(tmp_path)
    write(tmp_path)
    (tmp_path / "items.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="no Parquet"):
        read_scores(tmp_path)
    pq.write_table(pa.table({"item_id": ["a"] * 10}), tmp_path / "items.parquet")
    with pytest.raises(UserError, match="lacks column candidate, champion, image_id"):
        read_scores(tmp_path)
    (tmp_path / "scores.json").write_text('{"format": 1,')
    with pytest.raises(UserError, match="not valid JSON"):
        read_scores(tmp_path)
