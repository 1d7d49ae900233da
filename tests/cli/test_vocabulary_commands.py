"""`eve data answers` and `eve data tokenizer` from the outside."""

import copy
import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from eve_core.cli.vocabulary import answers, tokenizer
from eve_core.errors import UserError
from eve_core.tasks.answers import read_answers
from tests.config.test_run_config import MINIMAL

app = typer.Typer()
app.command()(answers)
app.command()(tokenizer)


def invoke(*arguments: object) -> Result:
    given = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture
def config(workspace: Path, tmp_path: Path) -> Path:
    """A run on the small world, with questions."""
    tree = {**copy.deepcopy(MINIMAL), "workspace": str(workspace)}
    tree["tokenizer"] = {"vocab_size": 320, "data": [{"set": "vqa_v2", "splits": ["train"]}]}
    tree["tasks"]["vqa"] = copy.deepcopy(tree["tasks"]["nlvr2"])
    tree["tasks"]["vqa"]["finetuning"]["min_answer_count"] = 2
    for side, split in (("train", "train"), ("evaluate", "val")):
        tree["tasks"]["vqa"]["data"][side] = {"set": "vqa_v2", "splits": [split]}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def annotations(tmp_path: Path) -> list[Path]:
    """Two files with twelve questions: nine times yes, twice no, once maybe."""
    paths = []
    for name, given in (("train", ["yes"] * 8 + ["no"]), ("val", ["yes", "no", "maybe"])):
        rows = [{"multiple_choice_answer": answer, "answers": [{"answer": answer}] * 10} for answer in given]
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps({"annotations": rows}))
    return paths


def test_answers_are_made_from_annotations(annotations: list[Path], tmp_path: Path) -> None:
    files = [part for path in annotations for part in ("--annotations", path)]
    assert "1 answers" in invoke("answers", *files).output
    done = invoke("answers", *files, "--min-count", 2, "--out", tmp_path / "answers.json")
    assert "2 answers" in done.output
    assert "66.67%" in done.output  # two of three questions of val
    assert read_answers(tmp_path / "answers.json") == ["no", "yes"]


def test_answers_are_compared_with_a_file(annotations: list[Path], tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text("yes\nzebra\n")
    done = invoke("answers", "--annotations", annotations[1], "--min-count", 1, "--compare", tmp_path / "others.txt")
    assert "1 answers are in both: 33.33% of these 3, and 50.00% of the 2" in done.output
    assert "only in those: 'zebra'" in done.output


def test_answers_are_those_of_the_run(config: Path, tmp_path: Path) -> None:
    invoke("answers", "--config", config, "--out", tmp_path / "made.json")
    made = read_answers(tmp_path / "made.json")
    tree = yaml.safe_load(config.read_text())
    del tree["tasks"]["vqa"]["finetuning"]["min_answer_count"]
    tree["tasks"]["vqa"]["finetuning"]["answers"] = str(tmp_path / "made.json")
    config.write_text(yaml.safe_dump(tree))
    assert f"{len(made):,} answers" in invoke("answers", "--config", config).output
    with pytest.raises(UserError, match="no answer is given 1000000 times"):
        invoke("answers", "--config", config, "--min-count", 10**6)


@pytest.mark.parametrize("arguments", [[], ["--config", "run.yaml", "--annotations", "train.json"]])
def test_half_a_command_is_explained(arguments: list[str]) -> None:
    done = invoke("answers", *arguments)
    assert done.exit_code == 2
    assert "give either --config FILE, or --annotations FILE" in done.output


@pytest.mark.filterwarnings("ignore:.*too few")
def test_a_tokenizer_is_made_measured_and_imported_again(config: Path, tmp_path: Path) -> None:
    made = invoke("tokenizer", "--config", config, "--out", tmp_path / "tokenizer")
    assert "coco_captions train" in made.output
    assert "vqa_v2 train" in made.output
    assert "special tokens [PAD] 0" in made.output
    tree = yaml.safe_load(config.read_text())
    tree["tokenizer"] = {"path": str(tmp_path / "tokenizer")}
    config.write_text(yaml.safe_dump(tree))
    again = invoke("tokenizer", "--config", config, "--out", tmp_path / "again")
    assert again.exit_code == 0
    files = [tmp_path / name / "tokenizer.json" for name in ("tokenizer", "again")]
    assert files[0].read_text() == files[1].read_text()
