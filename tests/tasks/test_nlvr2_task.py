"""NLVR2: accuracy and consistency by the official definitions, and rows without labels."""

import json
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
import torch

from eve_core.config import EvaluationConfig, FinetuningConfig, OptimizationConfig, Split
from eve_core.data.records import SCHEMAS
from eve_core.data.selection import split_rows
from eve_core.data.transforms import normalize
from eve_core.errors import UserError
from eve_core.model import EveForVisualReasoning
from eve_core.tasks.nlvr2 import Nlvr2Task


class Answering(Nlvr2Task):
    """Gives the answers it was given, in order, in the model's place."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def predict(self, model, preprocessor, inputs):
        return [{"answer": next(self.answers), "score": 1.0} for _ in inputs]


def statements(rows):
    """(id, statement, label) of each row, as a table."""
    return pa.Table.from_pylist(
        [
            {
                "statement_id": identifier,
                "left_image_id": f"{identifier}-left",
                "right_image_id": f"{identifier}-right",
                "statement": statement,
                "label": label,
                "split": "dev",
            }
            for identifier, statement, label in rows
        ],
        schema=SCHEMAS["statements"],
    )


def score(answers, table):
    images = defaultdict(bytes)
    return Answering(answers).score(None, None, table, images, EvaluationConfig(batch_size=2), "scoring")


def test_accuracy_and_consistency_by_hand():
    table = statements(
        [
            ("dev-1-0-0", "two dogs", True),
            ("dev-1-1-0", "two dogs", False),
            ("dev-1-0-1", "one cat", True),
            ("dev-1-1-1", "one cat", True),
            ("dev-2-0-0", "two dogs", False),  # the same words of another set are another sentence
        ]
    )
    scored = score([True, False, True, False, True], table)
    assert scored.metrics == {"accuracy": pytest.approx(3 / 5), "consistency": pytest.approx(1 / 3)}
    assert scored.items["score"].to_pylist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert scored.items["item_id"].to_pylist() == ["dev-1-0-0", "dev-1-1-0", "dev-1-0-1", "dev-1-1-1", "dev-2-0-0"]


@pytest.mark.real_data
def test_always_true_scores_what_the_official_metrics_say(real_data):
    path = real_data / "nlvr2" / "dev.json"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    table = statements([(row["identifier"], row["sentence"], row["label"] == "True") for row in rows])
    metrics = score([True] * len(rows), table).metrics
    assert round(metrics["accuracy"], 7) == 0.5085935
    assert round(metrics["consistency"], 7) == 0.0386521


def test_statements_without_labels_are_neither_scored_nor_trained_on():
    table = statements([("dev-1-0-0", "two dogs", True), ("test1-7-0-0", "one cat", None)])
    with pytest.raises(UserError, match=r"1 of 2 statements to score have no label \(test1-7"):
        score([True, True], table)
    with pytest.raises(UserError, match="statements to train on have no label"):
        Nlvr2Task().examples(table, None, None, None)


def test_the_model_answers_the_statements(prepared, preprocessor, small_config):
    torch.manual_seed(0)
    model = EveForVisualReasoning(small_config()).eval()
    table = split_rows(prepared, Split(set="nlvr2", splits=["dev"]))
    one = Nlvr2Task().score(model, preprocessor, table, prepared.images, EvaluationConfig(batch_size=3), "scoring")
    other = Nlvr2Task().score(model, preprocessor, table, prepared.images, EvaluationConfig(batch_size=64), "scoring")
    assert one.items.drop("confidence").equals(other.items.drop("confidence"))  # whatever the batch
    assert one.items.num_rows == table.num_rows
    assert one.metrics["accuracy"] == np.mean([row["prediction"] == row["target"] for row in one.items.to_pylist()])


def test_an_example_holds_left_and_right_in_order(prepared, preprocessor):
    task = Nlvr2Task()
    table = split_rows(prepared, Split(set="nlvr2", splits=["train"]))
    config = FinetuningConfig(optimization=OptimizationConfig(steps=1, batch_size=1, learning_rate=1.0))
    assert task.labels(table, config) == ["False", "True"]
    examples = task.examples(table, prepared.images, preprocessor, ["False", "True"])
    assert len(examples) == table.num_rows
    for index, row in enumerate(table.to_pylist()[:4]):
        example = examples.example(index, np.random.default_rng(0))
        assert example["labels"] == int(row["label"])
        for side, column in enumerate(("left_image_id", "right_image_id")):
            expected = preprocessor.picture(prepared.images[row[column]])
            assert torch.equal(normalize(example["pixel_values"][side]), expected)
