"""Fine-tuning: from a pre-trained folder to one that answers, in every task."""

import json

import pytest
import torch
from safetensors.torch import load_file

from eve_core.config import EvaluationConfig, FinetuningConfig, Split, TaskDataConfig
from eve_core.data.selection import evaluation_rows, split_rows
from eve_core.errors import UserError
from eve_core.tasks import get_task, load_predictor
from eve_core.training import finetune
from tests.training.conftest import optimization, run_pretraining

DATA = {
    "vqa": ("vqa_v2", "train", "val"),
    "nlvr2": ("nlvr2", "train", "dev"),
    "retrieval": ("flickr8k", "train", "test"),
}


def task_data(task: str) -> TaskDataConfig:
    name, train, test = DATA[task]
    return TaskDataConfig(train=Split(set=name, splits=[train]), evaluate=Split(set=name, splits=[test]))


def run(prepared, task, pretrained, folder, *, log=None, settings=None, **changes):
    config = FinetuningConfig(optimization=optimization(**changes), **{"min_answer_count": 1, **(settings or {})})
    out = folder / "out"
    out.mkdir(exist_ok=True)
    finetune(prepared, task, task_data(task), config, pretrained, out, seed=2, scratch=folder / "scratch", log=log)
    return out


def requests(prepared, task):
    rows = split_rows(prepared, task_data(task).evaluate).to_pylist()[:3]
    images = prepared.images
    if task == "vqa":
        return [{"image": images[row["image_id"]], "question": row["question"]} for row in rows]
    if task == "nlvr2":
        pictures = [(images[row["left_image_id"]], images[row["right_image_id"]]) for row in rows]
        return [
            {"left_image": left, "right_image": right, "statement": row["statement"]}
            for (left, right), row in zip(pictures, rows, strict=True)
        ]
    return [{"image": images[row["image_id"]], "text": row["caption"]} for row in rows]


@pytest.mark.parametrize("task", DATA)
def test_a_fine_tuned_folder_answers_and_can_be_scored(prepared, pretrained, tmp_path, task):
    seen = []
    out = run(prepared, task, pretrained, tmp_path, steps=2, log=lambda metrics, step: seen.append(metrics))
    predictor = load_predictor(out)
    assert predictor.task.name == task
    asked = requests(prepared, task)
    answers = predictor.predict(asked)
    assert len(answers) == len(asked)
    assert all(0 <= answer["score"] <= 1 for answer in answers)
    # One at a time or together, the answer is the same.
    alone = [predictor.predict([request])[0] for request in asked]
    assert [a["score"] for a in alone] == pytest.approx([a["score"] for a in answers], abs=1e-5)
    if task == "vqa":
        labels = get_task("vqa").labels(
            split_rows(prepared, task_data("vqa").train),
            FinetuningConfig(optimization=optimization(), min_answer_count=1),
        )
        assert list(predictor.model.config.id2label.values()) == labels
        assert all(answer["answer"] in labels for answer in answers)
    if task == "nlvr2":
        assert all(answer["answer"] == (answer["score"] > 0.5) for answer in answers)
    rows = evaluation_rows(prepared, task_data(task))
    config = EvaluationConfig(batch_size=16, rerank=2)
    scored = predictor.task.score(predictor.model, predictor.preprocessor, rows, prepared.images, config, "scoring")
    assert scored.items["score"].null_count == 0
    assert {"load_balance", "loss"} <= seen[0].keys()
    lines = (out / "training_log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_it_starts_from_the_pre_trained_encoder(prepared, pretrained, tmp_path):
    out = run(prepared, "nlvr2", pretrained, tmp_path, steps=1, learning_rate=1e-12, weight_decay=0.0)
    before, after = load_file(pretrained / "model.safetensors"), load_file(out / "model.safetensors")
    encoder = [name for name in before if name.startswith("backbone.")]
    assert encoder
    for name in encoder:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(prepared, pretrained, tmp_path):
    def crash(metrics, step):
        if step == 5:
            raise KeyboardInterrupt

    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    whole = run(prepared, "retrieval", pretrained, folders[0], steps=6)  # draws hard negatives as it goes
    with pytest.raises(KeyboardInterrupt):
        run(prepared, "retrieval", pretrained, folders[1], steps=6, log=crash)
    killed = run(prepared, "retrieval", pretrained, folders[1], steps=6)
    one, other = load_file(whole / "model.safetensors"), load_file(killed / "model.safetensors")
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("task", DATA)
def test_pictures_may_be_larger_than_in_pre_training(prepared, pretrained, tmp_path, task):
    predictor = load_predictor(run(prepared, task, pretrained, tmp_path, steps=1, settings={"image_size": 48}))
    model = predictor.model
    assert predictor.preprocessor.image_size == model.config.image_size == 48
    assert len(model.backbone.vision_embeddings.position_embeddings) == 1 + 6 * 6
    assert len(predictor.predict(requests(prepared, task))) == 3


def test_a_size_that_patches_do_not_fill_is_refused(prepared, pretrained, tmp_path):
    with pytest.raises(UserError, match=r"vqa: finetuning\.image_size 44 is no multiple of patch_size 8; choose a mul"):
        run(prepared, "vqa", pretrained, tmp_path, settings={"image_size": 44})


def test_visual_reasoning_may_let_its_pictures_attend_to_each_other(prepared, pretrained, tmp_path):
    predictor = load_predictor(run(prepared, "nlvr2", pretrained, tmp_path, steps=1, settings={"head": "bi_attention"}))
    assert type(predictor.model.head).__name__ == "BiAttentionHead"
    assert len(predictor.predict(requests(prepared, "nlvr2"))) == 3


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_other_tasks_have_no_choice_of_head(prepared, pretrained, tmp_path, task):
    with pytest.raises(UserError, match=rf"{task}: finetuning\.head bi_attention is a choice of nlvr2 alone"):
        run(prepared, task, pretrained, tmp_path, settings={"head": "bi_attention"})


def test_the_load_balance_may_be_left_out_of_the_loss(prepared, pretrained, tmp_path):
    seen = []
    for weight in (0.0, 0.5):
        folder = tmp_path / str(weight)
        folder.mkdir()
        settings = {"load_balance_weight": weight}
        run(prepared, "retrieval", pretrained, folder, steps=1, settings=settings, log=lambda m, _: seen.append(m))
    without, with_it = seen
    assert without["loss"] == pytest.approx(without["itc"] + without["itm"], rel=1e-3)
    assert with_it["loss"] == pytest.approx(without["loss"] + 0.5 * with_it["load_balance"], rel=1e-3)


def test_no_mask_token_is_left_after_pre_training_with_mask_tokens(prepared, tmp_path):
    objective = {"mask_tokens_in_encoder": True}
    pretrained = run_pretraining(prepared, tmp_path, steps=1, objective=objective)
    (tmp_path / "tuned").mkdir()
    out = run(prepared, "nlvr2", pretrained, tmp_path / "tuned", steps=1)
    assert "backbone.vision_embeddings.mask_token" in load_file(pretrained / "model.safetensors")
    assert "backbone.vision_embeddings.mask_token" not in load_file(out / "model.safetensors")
    assert len(load_predictor(out).predict(requests(prepared, "nlvr2"))) == 3


def test_a_folder_that_is_not_pre_trained_is_refused(prepared, tmp_path):
    with pytest.raises(UserError, match="is no saved EVE model"):
        run(prepared, "nlvr2", tmp_path / "nothing", tmp_path)


def test_a_folder_that_is_not_fine_tuned_cannot_answer(pretrained, tmp_path):
    for folder in (pretrained, tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="holds no fine-tuned EVE model"):
            load_predictor(folder)
