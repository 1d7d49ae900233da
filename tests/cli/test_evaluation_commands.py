"""`eve score`, `eve predict` and `eve gate` from the outside."""

import json

import pytest
from typer.testing import CliRunner

from eve_core.cli.main import app
from eve_core.config import Split
from eve_core.data.selection import split_rows
from eve_core.errors import UserError
from tests.evaluation.test_gate import write
from tests.training.conftest import run_pretraining
from tests.training.test_finetuning import run


def eve(*arguments):
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}, catch_exceptions=False
    )


@pytest.fixture
def nlvr2(tmp_path):
    statements = [{"identifier": f"dev-{n}-0-0", "label": str(n < 3)} for n in range(4)]
    path = tmp_path / "dev.json"
    path.write_text("".join(json.dumps(statement) + "\n" for statement in statements))
    return path


def test_scores_are_printed_for_people_and_for_programs(nlvr2, tmp_path):
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("".join(f"dev-{n}-0-0,True\n" for n in range(4)))
    files = ("--predictions", predictions, "--annotations", nlvr2)
    assert json.loads(eve("score", "nlvr2", *files, "--json").output) == {"accuracy": 0.75, "consistency": 0.75}
    assert "0.7500" in eve("score", "nlvr2", *files).output
    with pytest.raises(UserError, match="there is no task captioning; choose one of vqa, nlvr2, retrieval"):
        eve("score", "captioning", *files)


def test_a_split_is_answered_for_its_server(prepared, tmp_path):
    (tmp_path / "tuned").mkdir()
    model = run(prepared, "nlvr2", run_pretraining(prepared, tmp_path), tmp_path / "tuned", steps=1)
    out = tmp_path / "results.csv"
    arguments = ("--model", model, "--prepared", prepared.path, "--split", "dev", "--out", out)
    assert f"answers are in {out}" in eve("predict", "nlvr2", *arguments).output
    rows = split_rows(prepared, Split(set="nlvr2", splits=["dev"]))
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == rows["statement_id"].to_pylist()
    with pytest.raises(UserError, match="is a model for nlvr2, not for vqa"):
        eve("predict", "vqa", *arguments)
    with pytest.raises(UserError, match="no evaluation server for retrieval"):
        eve("predict", "retrieval", *arguments)


def test_the_gate_says_what_it_would_decide(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        """
name: test
data: {sources: []}
pretraining:
  data: [{set: coco_captions, splits: [train]}]
  optimization: {steps: 1, batch_size: 1, learning_rate: 0.1}
tasks:
  vqa:
    data: {train: {set: vqa_v2, splits: [train]}, evaluate: {set: vqa_v2, splits: [val]}}
    finetuning: {optimization: {steps: 1, batch_size: 1, learning_rate: 0.1}}
    gate: {floors: [{metric: accuracy, at_least: 0.1}], min_items: 5, rounds: 1000}
"""
    )
    (tmp_path / "scores").mkdir()
    scores = write(tmp_path / "scores", champion=None)
    dry = eve("gate", "vqa", scores, "--config", config, "--dry-run")
    assert dry.exit_code == 0
    assert "vqa: blessed" in dry.output
    assert not list(tmp_path.glob("*.html"))
    out = tmp_path / "blessing.json"
    assert eve("gate", "vqa", scores, "--config", config, "--out", out).exit_code == 0
    assert json.loads(out.read_text())["blessed"] is True
    assert "EVE for vqa" in out.with_suffix(".html").read_text()
    with pytest.raises(UserError, match="give either --out for the blessing, or --dry-run"):
        eve("gate", "vqa", scores, "--config", config)
    with pytest.raises(UserError, match="has scores of vqa, and the run has vqa; name one of both"):
        eve("gate", "nlvr2", scores, "--config", config, "--dry-run")
    of_train = write(tmp_path / "scores", champion=None, scored_on=("vqa_v2 train",))
    with pytest.raises(UserError, match="has scores on vqa_v2 train, and the run is judged on vqa_v2 val"):
        eve("gate", "vqa", of_train, "--config", config, "--dry-run")
    scores = write(tmp_path / "scores", champion=None)
    config.write_text(config.read_text().replace("at_least: 0.1", "at_least: 0.9"))
    refused = eve("gate", "vqa", scores, "--config", config, "--dry-run")
    assert refused.exit_code == 1
    assert "accuracy 0.7 is below 0.9" in refused.output
