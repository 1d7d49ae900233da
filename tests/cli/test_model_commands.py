"""`eve convert-official` from the outside."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner, Result

from eve_core.cli.main import app
from eve_core.config import FinetuningConfig, OptimizationConfig, Split, TaskDataConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.model import EveForVisualQuestionAnswering
from eve_core.tasks import load_predictor
from eve_core.training import finetune

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden" / "official_tiny_dropless.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds checkpoint.pth of question answering, and config.json."""
    with safe_open(GOLDEN, "pt") as file:
        keys = [key for key in file.keys() if key.startswith("vqa.state.")]  # noqa: SIM118 (no mapping)
        state = {key.removeprefix("vqa.state."): file.get_tensor(key) for key in keys}
        (tmp_path / "config.json").write_text(file.metadata()["config"])
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    return tmp_path


def convert(folder: Path, *options: object, task: str = "vqa") -> Result:
    files = [folder / "checkpoint.pth", "--config", folder / "config.json", "--out", folder / "out"]
    arguments = ["convert-official", *files, "--task", task, *options]
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}, catch_exceptions=False
    )


def test_it_says_what_it_wrote_and_what_is_not_there(folder: Path) -> None:
    done = convert(folder, "--image-size", 48)
    assert done.exit_code == 0
    model = EveForVisualQuestionAnswering.from_pretrained(folder / "out")
    assert model.config.task == "vqa"
    assert f"EveForVisualQuestionAnswering, {model.num_parameters():,} parameters" in done.output
    assert "3 blocks of width 48, 4 experts in blocks 1, 2" in done.output
    assert "pictures of 48 px in patches of 8" in done.output
    assert "ignored keys: backbone.position_ids_text, backbone.position_ids_vision" in done.output
    assert "no tokenizer in it" in done.output


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(100_000))]


def write_words(path: Path, number: int) -> Path:
    path.write_text("\n".join(WORDS[:number]))
    return path


def rows_of(folder: Path) -> int:
    """Word embeddings of the checkpoint."""
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    return len(state["backbone.word_embedding.weight"])


@pytest.mark.parametrize("spare", [0, 3])
def test_a_tokenizer_goes_into_the_folder_with_what_reads_pictures(folder: Path, spare: int) -> None:
    rows = rows_of(folder)
    done = convert(folder, "--tokenizer", write_words(folder / "vocab.txt", rows - spare))
    assert f"tokenizer of {rows - spare:,} ids for {rows:,} rows of word embeddings" in done.output
    config = EveForVisualQuestionAnswering.from_pretrained(folder / "out").config
    preprocessor = Preprocessor.load(folder / "out")
    assert preprocessor.text("word7 word0") == {"input_ids": [2, 12, 5, 3], "attention_mask": [1, 1, 1, 1]}
    assert (preprocessor.image_size, preprocessor.max_text_length) == (config.image_size, config.max_text_length)
    assert config.pad_token_id == preprocessor.tokenizer.pad_token_id


def test_fine_tuning_starts_from_a_converted_folder(folder: Path, prepared: PreparedData) -> None:
    convert(folder, "--tokenizer", write_words(folder / "vocab.txt", rows_of(folder)), task="backbone")
    questions = [Split(set="vqa_v2", splits=[split]) for split in ("train", "val")]
    optimization = OptimizationConfig(steps=1, batch_size=2, learning_rate=1e-3)
    (folder / "tuned").mkdir()
    finetune(
        prepared,
        "vqa",
        TaskDataConfig(train=questions[0], evaluate=questions[1]),
        FinetuningConfig(optimization=optimization, min_answer_count=1),
        folder / "out",
        folder / "tuned",
        seed=0,
        scratch=folder / "scratch",
    )
    predictor = load_predictor(folder / "tuned")
    picture = prepared.images[next(iter(prepared.images))]
    assert predictor.predict([{"image": picture, "question": "word1 word2"}])[0]["answer"]


def test_a_tokenizer_with_more_ids_than_rows_is_refused_and_nothing_is_written(folder: Path) -> None:
    rows = rows_of(folder)
    with pytest.raises(UserError, match=rf"vocabulary size mismatch: .*vocab\.txt has {rows + 1} ids, .* {rows} rows"):
        convert(folder, "--tokenizer", write_words(folder / "vocab.txt", rows + 1))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("form", ["list", "numbers"])
def test_the_answers_become_the_labels(folder: Path, form: str) -> None:
    answers = [f"answer {number}" for number in range(3128)]
    numbers = {answer: number for number, answer in enumerate(answers)}
    (folder / "answers.json").write_text(json.dumps(answers if form == "list" else numbers))
    convert(folder, "--answers", folder / "answers.json")
    assert EveForVisualQuestionAnswering.from_pretrained(folder / "out").config.id2label == dict(enumerate(answers))


def test_the_encoder_alone_tells_the_head_that_it_left_out(folder: Path) -> None:
    assert "output.3.weight" in convert(folder, task="backbone").output


def test_a_folder_with_something_in_it_stays_as_it_is(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        convert(folder)
    assert (folder / "out" / "config.json").read_text() == "mine"


def test_a_refused_checkpoint_leaves_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=r"output\.0\.weight"):
        convert(folder, task="nlvr2")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("text", ["[1]", "{", "\xff"])
def test_a_config_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"the official config .*config\.json"):
        convert(folder)


def test_a_capacity_without_the_official_routing_is_explained(folder: Path) -> None:
    done = convert(folder, "--capacity-factor", 2)
    assert done.exit_code == 2
    assert "--official-routing" in done.output
