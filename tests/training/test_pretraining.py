"""Pre-training: what it writes, and that neither a crash nor the number of workers changes the weights."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eve_core.config import ModelConfig, PretrainingConfig, Split
from eve_core.config.training import AugmentationConfig
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.model import EveForPreTraining
from eve_core.training import pretrain, trainer
from tests.training.conftest import TOKENIZER, optimization, run_pretraining


class Crashed(BaseException):
    """The run was killed."""


def crash_at(step: int):
    def log(metrics: dict[str, float], at: int) -> None:
        if at == step:
            raise Crashed

    return log


def assert_same_weights(one: Path, other: Path) -> None:
    states = [load_file(folder / "model.safetensors") for folder in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "scratch").glob("checkpoint-*"))


def test_it_writes_a_model_that_loads_with_its_tokenizer_and_its_log(pretrained):
    model = EveForPreTraining.from_pretrained(pretrained)
    preprocessor = Preprocessor.load(pretrained)
    assert model.config.vocab_size == len(preprocessor.tokenizer) <= 320
    assert model.config.pad_token_id == preprocessor.tokenizer.pad_token_id
    assert preprocessor.image_size == model.config.image_size == 32
    lines = [json.loads(line) for line in (pretrained / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    for line in lines:
        total = line["mlm"] + line["mim"] + 0.001 * line["load_balance"]
        assert line["loss"] == pytest.approx(total, rel=1e-3)
        for modality in ("vision", "text"):
            load = line[f"router/1/{modality}_load"]
            assert len(load) == model.config.num_experts
            assert sum(load) == pytest.approx(1)


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(prepared, pretrained, tmp_path, step):
    with pytest.raises(Crashed):
        run_pretraining(prepared, tmp_path, log=crash_at(step))
    assert checkpoints(tmp_path) == (["checkpoint-3"] if step == 4 else ["checkpoint-3", "checkpoint-6"])
    steps: list[int] = []
    out = run_pretraining(prepared, tmp_path, log=lambda metrics, step: steps.append(step))
    assert steps[0] == {4: 4, 8: 7}[step]  # it went on and did not begin again
    assert_same_weights(out, pretrained)
    assert (out / "training_log.jsonl").read_text().count("\n") == 8


def test_a_torn_checkpoint_is_passed_over(prepared, pretrained, tmp_path):
    with pytest.raises(Crashed):
        run_pretraining(prepared, tmp_path, log=crash_at(7))
    torn = tmp_path / "scratch" / "checkpoint-6"
    (torn / "checkpoint.json").unlink()  # it is written last
    (torn / "model.safetensors").write_bytes(b"half")
    steps: list[int] = []
    with pytest.warns(UserWarning, match="checkpoint-6 is damaged"):
        out = run_pretraining(prepared, tmp_path, log=lambda metrics, step: steps.append(step))
    assert steps[0] == 4
    assert_same_weights(out, pretrained)


def test_the_number_of_workers_changes_nothing(prepared, pretrained, tmp_path):
    assert_same_weights(run_pretraining(prepared, tmp_path, workers=2), pretrained)


def test_nor_does_it_or_a_kill_with_all_augmentations_and_length_buckets(prepared, tmp_path):
    def run(name: str, **changes: Any) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        objective = {"augmentation": AugmentationConfig(rand_augment=(2, 7), color_jitter=0.4)}
        return run_pretraining(prepared, tmp_path / name, objective=objective, length_buckets=True, **changes)

    whole = run("whole")
    assert_same_weights(run("workers", workers=4), whole)
    with pytest.raises(Crashed):
        run("killed", log=crash_at(5))
    assert_same_weights(run("killed", workers=1), whole)


def test_another_seed_gives_other_weights(prepared, pretrained, tmp_path):
    out = run_pretraining(prepared, tmp_path, seed=6)
    with pytest.raises(AssertionError):
        assert_same_weights(out, pretrained)


def test_a_step_that_is_not_finite_is_not_taken_and_its_examples_are_kept(prepared, tmp_path):
    with pytest.raises(UserError, match=r"step 3 was not taken, because loss or gradient is not finite .*lower the"):
        run_pretraining(prepared, tmp_path, learning_rate=1e30, checkpoint_steps=1)
    content = json.loads((tmp_path / "scratch" / "not_finite_at_step_3.json").read_text())
    assert math.isnan(content["numbers"]["gradient_norm"])
    assert len(content["examples"]) == 4
    assert all(example["epoch"] == 0 and example["image_ids"] and example["caption"] for example in content["examples"])
    assert checkpoints(tmp_path) == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelConfig(overrides={"hiden_size": 3}), "model: EveConfig has no field hiden_size"),
        (ModelConfig(overrides={"hidden_size": 30}), "model: hidden_size 30 is no multiple"),
        (ModelConfig(overrides={"hidden_size": "wide"}), "model: "),
        (ModelConfig(overrides={"ffn_types": ["hard", "soft"]}), r"model: ffn_types .* is not 4 times hard, soft or"),
    ],
)
def test_an_impossible_model_is_refused(prepared, tmp_path, model, message):
    config = PretrainingConfig(data=[Split(set="flickr8k", splits=["train"])], optimization=optimization())
    with pytest.raises(UserError, match=message):
        pretrain(prepared, config, model, TOKENIZER, tmp_path, seed=0, scratch=tmp_path / "scratch")


def test_the_metrics_that_are_passed_on_are_numbers_with_names_that_mlflow_takes(prepared, tmp_path):
    from mlflow.utils.validation import _validate_metric_name

    seen: list[dict[str, float]] = []
    run_pretraining(prepared, tmp_path, steps=2, log=lambda metrics, step: seen.append(metrics))
    assert len(seen) == 2
    routers = {f"router/1/{name}" for name in ("entropy", "dead_experts", "vision_load_max", "text_load_max")}
    for metrics in seen:
        assert {"loss", "mlm", "mim", "load_balance", "learning_rate", "grad_norm", *routers} <= metrics.keys()
        assert all(math.isfinite(value) for value in metrics.values())
        for name in metrics:
            _validate_metric_name(name)


def test_the_config_decides_tasks_and_passes(prepared, tmp_path):
    seen: list[dict[str, float]] = []
    objective = {"tasks": ["mlm", "mim", "itc", "itm"], "joint_masking": True, "load_balance_weight": 0.5}
    out = run_pretraining(prepared, tmp_path, steps=1, objective=objective, log=lambda metrics, _: seen.append(metrics))
    assert {"mlm", "mim", "itc", "itm"} <= seen[0].keys()
    parts = sum(seen[0][name] for name in ("mlm", "mim", "itc", "itm"))
    assert seen[0]["loss"] == pytest.approx(parts + 0.5 * seen[0]["load_balance"], rel=1e-3)
    config = EveForPreTraining.from_pretrained(out).config
    assert config.pretraining_tasks == ["mlm", "mim", "itc", "itm"]
    assert config.joint_masking
    assert not config.mask_tokens_in_encoder


def test_bf16_learns_what_float32_learns(prepared, tmp_path):
    losses = {}
    for precision in ("float32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        out = run_pretraining(prepared, folder, precision=precision, steps=20)
        log = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
        losses[precision] = sum(line["loss"] for line in log[-8:])
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bf16"] != losses["float32"]


def test_pictures_of_what_it_predicts_are_drawn_as_it_goes_and_change_nothing(
    prepared, pretrained, tmp_path, monkeypatch
):
    kept: list[list[str]] = []
    out = run_pretraining(
        prepared, tmp_path, keep=lambda folder: kept.append(sorted(path.name for path in folder.iterdir()))
    )
    names = [f"step_{step:06}.png" for step in (2, 4, 6, 8)]
    assert kept == [names[:1], names[:2], names[:3], names]
    assert all((tmp_path / "scratch" / "pictures" / name).stat().st_size > 1000 for name in names)
    monkeypatch.setattr(trainer, "_LOOKS_A_RUN", 1)
    (tmp_path / "seldom").mkdir()
    assert_same_weights(run_pretraining(prepared, tmp_path / "seldom"), out)
