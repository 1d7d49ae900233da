"""The gate blesses exactly the candidates that hold to everything it asks for, and says of every check why."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eve_core.config import GateConfig, SliceConfig
from eve_core.errors import UserError
from eve_core.evaluation.gate import ScoredModel, Scores, decide, read_scores

ITEMS = 400
GATE = GateConfig(floors=[{"metric": "accuracy", "at_least": 0.5}], min_items=10, rounds=1000)
KINDS = ["number", "other"]


def right(share, items=ITEMS):
    """The first `share` of the items right."""
    return (np.arange(items) < share * items).astype(float)


def scores(candidate=None, champion=None, items=ITEMS, **changes):
    candidate = right(0.7, items) if candidate is None else candidate
    columns = {
        "item_id": [str(i) for i in range(len(candidate))],
        "image_id": [f"coco/{i}" for i in range(len(candidate))],
        "candidate": candidate,
        "champion": champion if champion is not None else [None] * len(candidate),
        "slice/answer_type": [KINDS[i % 2] for i in range(len(candidate))],
    }
    found = Scores(
        task="vqa",
        trained_on=("vqa_v2 train",),
        scored_on=("vqa_v2 val",),
        main_metric="accuracy",
        data_digest="d",
        data_revision="r",
        leaking_rows=0,
        candidate=ScoredModel(
            "new",
            "t",
            {"accuracy": float(candidate.mean()), "dead_experts": 0.25},
            {"latency_ms": 20.0, "memory_mb": 900.0, "size_mb": 30.0},
            "q",
        ),
        champion=None
        if champion is None
        else ScoredModel("old", "t", {"accuracy": float(champion.mean())}, version="3"),
        items=pa.table(columns),
    )
    return replace(found, **changes)


def judge(found, slices=(), **changes):
    return decide(found, GATE.model_copy(update=changes), slices, code_revision="c")


def test_a_candidate_that_is_surely_better_is_blessed():
    blessing = judge(scores(right(0.7), right(0.6)))
    assert blessing.blessed
    assert blessing.reasons == ()
    assert (blessing.model_digest, blessing.champion_version, blessing.champion_digest) == ("new", "3", "old")
    (gain,) = [check for check in blessing.checks if check.name == "gain accuracy"]
    assert gain.sentence.startswith("accuracy 0.7 is +0.1 [")
    assert "by McNemar's exact test, 0.05 allowed)" in gain.sentence
    (whole,) = blessing.parts
    assert (whole.name, whole.items) == ("all", ITEMS)
    assert whole.candidate[0] == pytest.approx(0.7)
    assert whole.gain[1] < 0.1 < whole.gain[2]


@pytest.mark.parametrize("champion", [0.7, 0.75, 0.9])
def test_a_candidate_that_is_equal_or_worse_is_refused(champion):
    blessing = judge(scores(right(0.7), right(champion)))
    assert not blessing.blessed
    (reason,) = blessing.reasons[:1]
    assert "against champion 3" in reason
    assert "not more than +0 beyond chance" in reason


def test_a_gain_that_so_few_items_may_have_by_chance_is_refused():
    few, many = 40, 4000
    assert not judge(scores(right(0.7, few), right(0.65, few))).blessed
    assert judge(scores(right(0.7, many), right(0.65, many))).blessed


def test_too_few_items_for_the_claimed_power_are_refused():
    draw = np.random.default_rng(0)
    candidate, champion = (draw.random(ITEMS) < share for share in (0.9, 0.4))
    found = scores(candidate.astype(float), champion.astype(float))
    assert judge(found, detectable_gain=0.2).blessed
    (reason,) = judge(found, detectable_gain=0.01).reasons
    assert "0.01 was asked for, which takes more items" in reason


def test_a_margin_lets_a_candidate_fall_a_little_short_and_no_more():
    draw = np.random.default_rng(0)
    champion = (draw.random(4000) < 0.7).astype(float)
    candidate = np.where(draw.random(4000) < 0.01, 0.0, champion)  # nearly one in a hundred right answers lost
    assert judge(scores(candidate, champion), min_gain=-0.02).blessed
    (reason,) = judge(scores(candidate, champion), min_gain=-0.005).reasons
    assert "not at most 0.005 worse beyond chance" in reason


def test_a_gain_has_to_be_larger_than_what_is_asked_for():
    found = scores(right(0.7, 4000), right(0.6, 4000))
    assert judge(found, min_gain=0.05).blessed
    assert not judge(found, min_gain=0.099).blessed


def test_without_a_champion_the_floors_decide_and_it_is_said():
    blessing = judge(scores(right(0.7)))
    assert blessing.blessed
    assert blessing.champion_version is None
    assert "no champion: floors only" in [check.sentence for check in blessing.checks]
    assert blessing.parts[0].champion is None
    assert not judge(scores(right(0.4))).blessed


def test_a_floor_holds_even_for_a_candidate_that_beats_the_champion():
    assert judge(scores(right(0.4), right(0.1))).reasons == ("accuracy 0.4 is below 0.5",)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("model", ["candidate", "champion"])
def test_a_score_that_is_no_number_is_refused(value, model):
    scored = {"candidate": right(0.7), "champion": right(0.6)}
    scored[model] = np.where(np.arange(ITEMS) == 7, value, scored[model])
    blessing = judge(scores(**scored))
    assert not blessing.blessed
    assert blessing.reasons[0] == f"1 items have no finite number as the {model}'s score"
    assert blessing.parts == ()
    json.dumps(blessing.to_json(), allow_nan=False)


def test_a_fall_is_seen_however_many_slices_there_are():
    """The bootstrap's smallest p value is one over its rounds, and Holm's first share of alpha one over the slices."""
    draw, kinds, number = np.random.default_rng(1), 40, 40 * 60
    champion, fallen = draw.uniform(0.6, 0.9, number), np.arange(number) % kinds == 7
    candidate = np.where(fallen, champion - draw.uniform(0, 0.6, number), champion + 0.1)
    found = scores(candidate, champion)
    names = pa.array([f"kind {i % kinds}" for i in range(number)])
    items = found.items.drop_columns("slice/answer_type").append_column("slice/answer_type", names)
    reasons = judge(replace(found, items=items), [SliceConfig(by="answer_type", min_items=10)], alpha=0.05 / 3).reasons
    assert [reason.split(":")[0] for reason in reasons] == ["answer_type kind 7"]


def test_no_items_at_all_are_refused_and_nothing_else_happens():
    found = scores(right(0.7), right(0.6))
    blessing = judge(replace(found, items=found.items.slice(0, 0)))
    assert blessing.reasons[0] == "0 items were scored, fewer than the 10 that a verdict needs"


def test_a_missing_metric_is_refused():
    blessing = judge(scores(), floors=[*GATE.floors, GATE.floors[0].model_copy(update={"metric": "recall"})])
    assert blessing.reasons == ("the candidate's recall was not measured",)


def test_too_few_items_carry_no_verdict():
    assert judge(scores(items=9)).reasons == ("9 items were scored, fewer than the 10 that a verdict needs",)


def test_a_champion_that_was_scored_on_other_items_is_no_baseline():
    found = scores(right(0.7), right(0.6))
    found = replace(found, champion=replace(found.champion, test_digest="another"))
    reasons = judge(found).reasons
    assert reasons[0] == "champion 3 was scored on other items than the candidate"
    assert reasons[1] == "the two models could not be compared"


def test_a_slice_that_falls_while_the_whole_rises_is_refused():
    kind = np.arange(ITEMS) % 2  # 0 number, 1 other
    champion = np.where(kind == 0, right(0.8), right(0.2))
    candidate = np.where(kind == 0, right(0.5), right(0.9))
    slices = [SliceConfig(by="answer_type")]
    blessing = judge(scores(candidate, champion), slices)
    (reason,) = blessing.reasons
    assert reason.startswith("answer_type number: accuracy is -0.3 [")
    assert "worse by more than 0.05 beyond chance" in reason
    assert judge(scores(candidate, champion), slices, max_slice_drop=0.4).blessed
    assert [part.name for part in blessing.parts] == ["all", "answer_type number", "answer_type other"]
    assert [part.items for part in blessing.parts] == [400, 200, 200]


def test_a_slice_has_a_floor_of_its_own():
    slices = [SliceConfig(by="answer_type", at_least=0.6)]
    candidate = np.where(np.arange(ITEMS) % 2 == 0, 1.0, right(0.5))
    assert judge(scores(candidate), slices).reasons == ("answer_type other: accuracy 0.5 is below 0.6",)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"by": "answer_type", "values": ["yes/no"]}, "slice answer_type yes/no has 0 items, fewer than 30"),
        ({"by": "answer_type", "min_items": 300}, "slice answer_type has no part with 300 items"),
        ({"by": "source"}, "the items were scored without slice source"),
    ],
)
def test_an_empty_or_missing_slice_is_refused(config, reason):
    assert judge(scores(), [SliceConfig(**config)]).reasons == (reason,)


def test_a_leak_is_refused():
    assert judge(scores(leaking_rows=2)).reasons == ("2 rows that it was trained on show a picture of the test",)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_latency": 19}, "95 of 100 requests take up to 20 ms, more than 19"),
        ({"max_memory": 899}, "serving it takes 900 MB of memory, more than 899"),
        ({"max_size": 29}, "its files have 30 MB, more than 29"),
        ({"max_dead_experts": 0.2}, "a share of 0.25 of a block's experts was chosen by no token, more than 0.2"),
    ],
)
def test_a_budget_that_is_exceeded_is_refused(limit, reason):
    assert judge(scores(), **limit).reasons == (reason,)
    assert judge(scores(), **{name: value + 1 for name, value in limit.items() if value >= 1}).blessed


def test_what_was_not_measured_is_within_no_budget():
    found = scores()
    found = replace(found, candidate=replace(found.candidate, served={}))
    assert judge(found, max_latency=100).reasons == ("latency_ms was not measured",)


def write(folder, rows=10, **changes):
    served = {"latency_ms": 20.0}
    model = {"model_digest": "new", "test_digest": "t", "metrics": {"accuracy": 0.7}, "served": served}
    content = {
        "format": 2,
        "task": "vqa",
        "trained_on": ["vqa_v2 train"],
        "scored_on": ["vqa_v2 val"],
        "items": 10,
        "main_metric": "accuracy",
        "data_digest": "d",
        "data_revision": "r",
        "leaking_rows": 0,
        "candidate": {**model, "requests_digest": "q"},
        "champion": {"version": "3", "model_digest": "old", "test_digest": "t", "metrics": {"accuracy": 0.5}},
        **changes,
    }
    content = {key: value for key, value in content.items() if value != "absent"}
    (folder / "scores.json").write_text(json.dumps(content))
    columns = {
        "item_id": [str(i) for i in range(rows)],
        "image_id": ["a"] * rows,
        "candidate": right(0.7, rows),
        "champion": right(0.5, rows),
    }
    pq.write_table(pa.table(columns), folder / "items.parquet")
    return folder


def model(**changes):
    part = {"model_digest": "new", "test_digest": "t", "metrics": {"accuracy": 0.7}, "requests_digest": "q", **changes}
    return {key: value for key, value in part.items() if value != "absent"}


def test_a_scores_folder_is_read_as_written(tmp_path):
    found = read_scores(write(tmp_path))
    assert (found.candidate.metrics, found.champion.version, found.items.num_rows) == ({"accuracy": 0.7}, "3", 10)
    assert read_scores(write(tmp_path, champion=None)).champion is None


def test_a_metric_that_was_changed_contradicts_its_items(tmp_path):
    with pytest.raises(UserError, match=r"the candidate's accuracy is 0\.9, but its items give 0\.7"):
        read_scores(write(tmp_path, candidate=model(metrics={"accuracy": 0.9})))


def test_nan_in_a_scores_file_contradicts_its_items_too(tmp_path):
    with pytest.raises(UserError, match="is nan, but its items give"):
        read_scores(write(tmp_path, candidate=model(metrics={"accuracy": math.nan})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format 2"),
        ({"task": "captioning"}, "names no task"),
        ({"items": "10"}, "whole number"),
        ({"items": 11}, "11 items but items.parquet has 10"),
        ({"leaking_rows": "absent"}, "leaking_rows"),
        ({"trained_on": "all"}, "trained_on"),
        ({"data_revision": ""}, "data_revision"),
        ({"candidate": "absent"}, "no candidate"),
        ({"champion": "absent"}, "no champion"),
        ({"champion": {"model_digest": "old", "test_digest": "t", "metrics": {"accuracy": 0.5}}}, "version"),
        ({"candidate": model(test_digest="absent")}, "test_digest"),
        ({"candidate": model(requests_digest="absent")}, "requests_digest"),
        ({"candidate": model(metrics={"accuracy": "0.7"})}, "accuracy is no number"),
        ({"candidate": model(metrics={"accuracy": True})}, "accuracy is no number"),
        ({"candidate": model(metrics={"accuracy": None})}, "accuracy is no number"),
        ({"candidate": model(served={"latency_ms": "fast"})}, "latency_ms is no number"),
    ],
)
def test_a_malformed_scores_file_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_scores(write(tmp_path, **changes))


def test_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"scores\.json does not exist"):
        read_scores(tmp_path)
    write(tmp_path)
    items = tmp_path / "items.parquet"
    table = pq.read_table(items)
    items.write_text("no parquet")
    with pytest.raises(UserError, match="no Parquet"):
        read_scores(tmp_path)
    pq.write_table(pa.table({"item_id": ["a"] * 10}), items)
    with pytest.raises(UserError, match="lacks column candidate, champion, image_id"):
        read_scores(tmp_path)
    pq.write_table(table.set_column(0, "item_id", pa.array(["1"] * 10)), items)
    with pytest.raises(UserError, match="has items more than once"):
        read_scores(tmp_path)
    pq.write_table(table.set_column(3, "champion", pa.array([None] * 10, pa.float64())), items)
    with pytest.raises(UserError, match="lacks the champion's score"):
        read_scores(tmp_path)
    (tmp_path / "scores.json").write_text('{"format": 2,')
    with pytest.raises(UserError, match="not valid JSON"):
        read_scores(tmp_path)
