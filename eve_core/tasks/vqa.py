"""Visual question answering: classification over the frequent answers, scored by VQA accuracy."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import EvaluationConfig, FinetuningConfig
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.progress import Progress
from eve_core.tasks.task import Examples, Task, TaskScores, batches, text_batch
from eve_core.tasks.vqa_accuracy import vqa_accuracy

if TYPE_CHECKING:
    import pyarrow as pa

    from eve_core.model import EvePreTrainedModel

# What an answer is worth as a training target, by how many of the ten gave it (official fine-tuning code).
_TARGET_BY_COUNT = {1: 0.3, 2: 0.6, 3: 0.9}


class VqaTask(Task):
    """VQA v2."""

    name = "vqa"
    model_class_name = "EveForVisualQuestionAnswering"

    def labels(self, rows: "pa.Table", config: FinetuningConfig) -> list[str]:
        """Answers whose most common form was chosen in at least `min_answer_count` training questions, sorted.

        Raises:
            UserError: no answer is that frequent.
        """
        counts = Counter(answer for answer in rows["answer"].to_pylist() if answer is not None)
        answers = sorted(answer for answer, count in counts.items() if count >= config.min_answer_count)
        if not answers:
            raise UserError(
                f"no answer is given {config.min_answer_count} times among {rows.num_rows} training questions; "
                "lower finetuning.min_answer_count"
            )
        return answers

    def examples(
        self, rows: "pa.Table", images: ImageStore, preprocessor: Preprocessor, labels: list[str] | None
    ) -> Examples:
        """Questions with at least one annotator's answer in the vocabulary."""
        assert labels is not None
        return _Questions(rows, images, preprocessor, labels)

    def score(
        self,
        model: "EvePreTrainedModel",
        preprocessor: Preprocessor,
        rows: "pa.Table",
        images: ImageStore,
        config: EvaluationConfig,
        description: str,
    ) -> TaskScores:
        """VQA accuracy, overall and by answer type, and its gain over the best constant answer a question type."""
        import pyarrow as pa

        questions = rows.to_pylist()
        if any(len(question["answers"]) == 0 for question in questions):
            raise UserError("some of the questions to score have no answers; score a split whose answers are public")
        predictions: list[str] = []
        with Progress(description, len(questions), "question") as progress:
            for indices in batches(len(questions), config.batch_size):
                chunk = [questions[i] for i in indices]
                inputs = [{"image": images[row["image_id"]], "question": row["question"]} for row in chunk]
                predictions += [answer["answer"] for answer in self.predict(model, preprocessor, inputs)]
                progress.update(len(chunk))

        scores = np.array([vqa_accuracy(p, row["answers"]) for p, row in zip(predictions, questions, strict=True)])
        prior = _prior_scores(questions)
        metrics = {
            "accuracy": float(scores.mean()),
            "prior_accuracy": float(prior.mean()),
            "accuracy_gain_over_prior": float(scores.mean() - prior.mean()),
        }
        answer_types = np.array([row["answer_type"] or "unknown" for row in questions])
        for answer_type in sorted(set(answer_types)):
            metrics[f"accuracy_{answer_type}"] = float(scores[answer_types == answer_type].mean())
        items = pa.table(
            {
                "item_id": [str(row["question_id"]) for row in questions],
                "image_id": [row["image_id"] for row in questions],
                "score": scores,
                "text": [row["question"] for row in questions],
                "prediction": predictions,
                "target": [row["answer"] for row in questions],
            }
        )
        return TaskScores(metrics, items)

    def predict(
        self, model: "EvePreTrainedModel", preprocessor: Preprocessor, inputs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """{"image": bytes, "question": str} -> {"answer": str, "score": probability of that answer}."""
        import torch

        with torch.inference_mode():
            logits = model(
                pixel_values=torch.stack([preprocessor.picture(row["image"]) for row in inputs]).to(model.device),
                **text_batch(preprocessor, [row["question"] for row in inputs], model.device),
            ).logits.float()
        scores, best = logits.sigmoid().max(-1)
        return [
            {"answer": model.config.id2label[int(index)], "score": float(score)}
            for index, score in zip(best, scores, strict=True)
        ]


class _Questions(Examples):
    def __init__(self, rows: "pa.Table", images: ImageStore, preprocessor: Preprocessor, labels: list[str]) -> None:
        self.images = images
        self.preprocessor = preprocessor
        self.index_of = {label: index for index, label in enumerate(labels)}
        self.rows = [row for row in rows.to_pylist() if self._known_answers(row)]
        if not self.rows:
            raise UserError("no training question has an answer in the vocabulary; lower finetuning.min_answer_count")

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        row = self.rows[index]
        labels = np.zeros(len(self.index_of), dtype=np.float32)
        for answer, count in self._known_answers(row).items():
            labels[self.index_of[answer]] = _TARGET_BY_COUNT.get(count, 1.0)
        return {
            "pixel_values": self.preprocessor.picture(self.images[row["image_id"]], row["image_id"]),
            **self.preprocessor.text(row["question"]),
            "labels": labels,
        }

    def _known_answers(self, row: dict[str, Any]) -> dict[str, int]:
        return {answer: n for answer, n in Counter(row["answers"]).items() if answer in self.index_of}


def _prior_scores(questions: list[dict[str, Any]]) -> np.ndarray:
    """Accuracy of always giving each question type's most common answer, that of the scored questions themselves."""
    by_type: dict[Any, Counter[str]] = defaultdict(Counter)
    for row in questions:
        by_type[row["question_type"]][row["answer"] or row["answers"][0]] += 1
    constant = {question_type: answers.most_common(1)[0][0] for question_type, answers in by_type.items()}
    return np.array([vqa_accuracy(constant[row["question_type"]], row["answers"]) for row in questions])
