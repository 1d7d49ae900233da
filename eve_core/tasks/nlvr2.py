"""NLVR2: is a statement true of two pictures?"""

from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig, EvaluationConfig, FinetuningConfig
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.tasks.nlvr2_accuracy import nlvr2_metrics
from eve_core.tasks.task import Task, TaskScores, text_batch

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from eve_core.model import EvePreTrainedModel


class Nlvr2Task(Task):
    """Accuracy, and consistency: the share of sentences judged right on every pair they come with."""

    name = "nlvr2"
    model_class_name = "EveForVisualReasoning"

    def labels(self, rows: "pa.Table", config: FinetuningConfig) -> list[str]:
        """False and true, in the order of the logits."""
        return ["False", "True"]

    def examples(
        self,
        rows: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        labels: list[str] | None,
        augmentation: AugmentationConfig | None = None,
    ) -> Examples:
        """Statements with their pair of pictures and label."""
        _check_labels(rows, "train on")
        return _Statements(
            rows.drop_columns(["statement_id", "split"]), "statement", images, preprocessor, augmentation
        )

    def score(
        self,
        model: "EvePreTrainedModel",
        preprocessor: Preprocessor,
        rows: "pa.Table",
        images: ImageStore,
        config: EvaluationConfig,
        description: str,
    ) -> TaskScores:
        """Accuracy and consistency, by the official definitions."""
        import pyarrow as pa

        _check_labels(rows, "score")
        statements = rows.to_pylist()
        answers = self.answer(model, preprocessor, statements, images, config.batch_size, description)
        right = np.array([float(a["answer"] == row["label"]) for a, row in zip(answers, statements, strict=True)])
        likely = np.array([answer["score"] for answer in answers])
        right[~np.isfinite(likely)] = np.nan
        statement_ids = [row["statement_id"] for row in statements]
        items = pa.table(
            {
                "item_id": statement_ids,
                "image_id": [row["left_image_id"] for row in statements],
                "score": right,
                "second_image_id": [row["right_image_id"] for row in statements],
                "text": [row["statement"] for row in statements],
                "prediction": [str(answer["answer"]) for answer in answers],
                "target": [str(row["label"]) for row in statements],
                "confidence": np.maximum(likely, 1 - likely),
            }
        )
        return TaskScores(nlvr2_metrics(statement_ids, right), items)

    def request(self, row: dict[str, Any], images: ImageStore) -> dict[str, Any]:
        """{"left_image": bytes, "right_image": bytes, "statement": str}."""
        left, right = images[row["left_image_id"]], images[row["right_image_id"]]
        return {"left_image": left, "right_image": right, "statement": row["statement"]}

    def predict(
        self, model: "EvePreTrainedModel", preprocessor: Preprocessor, inputs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """{"left_image": bytes, "right_image": bytes, "statement": str} -> {"answer": bool, "score": P(true)}."""
        import torch

        with torch.inference_mode():
            logits = model(
                pixel_values=torch.stack(
                    [_pair(preprocessor, row["left_image"], row["right_image"]) for row in inputs]
                ).to(model.device),
                **text_batch(preprocessor, [row["statement"] for row in inputs], model.device),
            ).logits.float()
        return [{"answer": bool(p > 0.5), "score": float(p)} for p in logits.softmax(-1)[:, 1]]


class _Statements(Examples):
    def build(self, row: dict[str, Any], text: dict[str, list[int]], generator: np.random.Generator) -> dict[str, Any]:
        return {**text, "labels": int(row["label"])}

    def pictures(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        # Left stays left: mirrored together, the pictures still face as the statement says they do. (The official code
        # mirrors one without the other, whatever the statement.)
        return [row["left_image_id"], row["right_image_id"]], [row["statement"]]


def _pair(preprocessor: Preprocessor, left: bytes, right: bytes) -> "torch.Tensor":
    """Bytes of two pictures -> (2, 3, S, S)."""
    import torch

    return torch.stack(
        [preprocessor.picture(left, "the left picture"), preprocessor.picture(right, "the right picture")]
    )


def _check_labels(rows: "pa.Table", purpose: str) -> None:
    unlabelled = rows.filter(rows["label"].is_null())["statement_id"]
    if len(unlabelled):
        raise UserError(
            f"{len(unlabelled)} of {rows.num_rows} statements to {purpose} have no label ({unlabelled[0]} is the "
            "first); use a split whose labels are public"
        )
