"""VQA: its vocabulary, its targets, its scores, and rows without answers."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
import torch

from eve_core.config import EvaluationConfig, FinetuningConfig, OptimizationConfig, Split
from eve_core.data.records import SCHEMAS
from eve_core.data.selection import split_rows
from eve_core.errors import UserError
from eve_core.model import EveForVisualQuestionAnswering
from eve_core.tasks.vqa import VqaTask


class Answering(VqaTask):
    """Gives the answers it was given, in order, in the model's place."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def predict(self, model, preprocessor, inputs):
        return [{"answer": next(self.answers), "score": 1.0} for _ in inputs]


def finetuning(min_answer_count=9, answers=None):
    optimization = OptimizationConfig(steps=1, batch_size=1, learning_rate=1.0)
    return FinetuningConfig(optimization=optimization, min_answer_count=min_answer_count, answers=answers)


def questions(rows):
    """(answers, answer, question type, answer type) of each row, as a table."""
    return pa.Table.from_pylist(
        [
            {
                "question_id": number,
                "image_id": "coco/1",
                "question": f"question {number}",
                "question_type": question_type,
                "answer_type": answer_type,
                "answers": answers,
                "answer": answer,
                "split": "val",
            }
            for number, (answers, answer, question_type, answer_type) in enumerate(rows)
        ],
        schema=SCHEMAS["questions"],
    )


def test_the_vocabulary_is_what_was_chosen_often_enough_in_training():
    rows = [([answer] * 10, answer, "what", "other") for answer in ["red"] * 3 + ["blue"] * 2 + ["grey"]]
    rows.append(([], None, None, None))
    table = questions(rows)
    assert VqaTask().labels(table, finetuning(2)) == ["blue", "red"]
    assert VqaTask().labels(table, finetuning(1)) == ["blue", "grey", "red"]
    with pytest.raises(UserError, match=r"no answer is given 4 times among 7 .*finetuning\.min_answer_count"):
        VqaTask().labels(table, finetuning(4))


def test_a_vocabulary_that_is_named_is_taken_as_it_is(tmp_path):
    (tmp_path / "answers.json").write_text('["yes", "", "no"]')
    table = questions([(["red"] * 10, "red", "what", "other")])
    assert VqaTask().labels(table, finetuning(answers=tmp_path / "answers.json")) == ["yes", "", "no"]


def test_targets_follow_how_many_gave_the_answer(prepared, preprocessor):
    image_id = next(iter(prepared.image_info()["image_id"].to_pylist()))
    answers = ["a"] * 1 + ["b"] * 2 + ["c"] * 3 + ["d"] * 4
    table = questions([(answers, "d", "what", "other"), (["z"] * 10, "z", "what", "other")])
    table = table.set_column(1, "image_id", pa.array([image_id] * 2))
    examples = VqaTask().examples(table, prepared.images, preprocessor, ["a", "b", "c", "d", "e"])
    assert len(examples) == 1  # a question without a known answer teaches nothing
    labels = examples.example(0, np.random.default_rng(0))["labels"]
    np.testing.assert_allclose(labels, [0.3, 0.6, 0.9, 1.0, 0.0])


def test_spellings_of_one_answer_are_one_target(prepared, preprocessor):
    image_id = next(iter(prepared.image_info()["image_id"].to_pylist()))
    table = questions(
        [(["One way", "1 way", "one way"] + ["None"] * 2 + ["none"] + ["dog"] * 4, "dog", "what", "other")]
    )
    table = table.set_column(1, "image_id", pa.array([image_id]))
    examples = VqaTask().examples(table, prepared.images, preprocessor, ["0", "1 way", "none"])
    labels = examples.example(0, np.random.default_rng(0))["labels"]
    np.testing.assert_allclose(labels, [0.6, 0.9, 0.3])  # "none" stands in the vocabulary as it is written


def test_training_questions_without_any_known_answer_are_refused(preprocessor):
    table = questions([(["z"] * 10, "z", "what", "other")])
    with pytest.raises(UserError, match="no training question has an answer in the vocabulary"):
        VqaTask().examples(table, None, preprocessor, ["a"])


def test_scores_by_hand():
    table = questions(
        [
            (["yes"] * 10, "yes", "is", "yes/no"),
            (["no"] * 10, "no", "is", "yes/no"),
            (["yes"] * 10, "yes", "is", "yes/no"),
            (["2"] * 8 + ["3"] * 2, "2", "how many", "number"),
        ]
    )
    answering = Answering(["yes", "yes", "no", "3"])
    scored = answering.score(None, None, table, defaultdict(bytes), EvaluationConfig(batch_size=3), "scoring")
    last = (2 * 1 + 8 * 2) / 30
    assert scored.items["score"].to_pylist() == [1.0, 0.0, 0.0, pytest.approx(last)]
    accuracy, prior = (1 + last) / 4, (1 + 0 + 1 + 1) / 4  # always "yes" and always "2"
    assert scored.metrics == {
        "accuracy": pytest.approx(accuracy),
        "prior_accuracy": pytest.approx(prior),
        "accuracy_gain_over_prior": pytest.approx(accuracy - prior),
        "accuracy_yes/no": pytest.approx(1 / 3),
        "accuracy_number": pytest.approx(last),
    }


def test_questions_without_answers_are_not_scored():
    table = questions([(["yes"] * 10, "yes", "is", "yes/no"), ([], None, None, None)])
    with pytest.raises(UserError, match="some of the questions to score have no answers"):
        Answering([]).score(None, None, table, defaultdict(bytes), EvaluationConfig(), "scoring")


def test_the_model_answers_from_its_vocabulary_whatever_the_batch(prepared, preprocessor, small_config):
    torch.manual_seed(0)
    table = split_rows(prepared, Split(set="vqa_v2", splits=["val"]))
    labels = VqaTask().labels(split_rows(prepared, Split(set="vqa_v2", splits=["train"])), finetuning(1))
    config = small_config(id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)})
    model = EveForVisualQuestionAnswering(config).eval()
    one, other = (
        VqaTask().score(model, preprocessor, table, prepared.images, EvaluationConfig(batch_size=size), "scoring")
        for size in (2, 64)
    )
    assert one.items.drop("confidence").equals(other.items.drop("confidence"))
    assert set(one.items["prediction"].to_pylist()) <= set(labels)
