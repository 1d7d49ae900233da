"""Visual question answering: classification over the frequent answers, scored by VQA accuracy."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig, EvaluationConfig, FinetuningConfig
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.tasks.answers import answer_numbers, answer_vocabulary, number_of, read_answers
from eve_core.tasks.task import Task, TaskScores, text_batch
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
        """The answers of the file that the configuration names, or those made from the training questions.

        Raises:
            UserError: see `read_answers` and `answer_vocabulary`.
        """
        if config.answers is not None:
            return read_answers(config.answers)
        return answer_vocabulary(rows, config.min_answer_count)

    def examples(
        self,
        rows: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        labels: list[str] | None,
        augmentation: AugmentationConfig | None = None,
    ) -> Examples:
        """Questions with at least one annotator's answer in the vocabulary."""
        assert labels is not None
        return _Questions(rows, images, preprocessor, augmentation, labels)

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
        answers = self.answer(model, preprocessor, questions, images, config.batch_size, description)
        scores = np.array(
            [vqa_accuracy(a["answer"], row["answers"]) for a, row in zip(answers, questions, strict=True)]
        )
        confidence = np.array([answer["score"] for answer in answers])
        scores[~np.isfinite(confidence)] = np.nan
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
                "prediction": [answer["answer"] for answer in answers],
                "target": [row["answer"] for row in questions],
                "confidence": confidence,
                "question_type": [row["question_type"] or "unknown" for row in questions],
                "answer_type": answer_types,
            }
        )
        return TaskScores(metrics, items)

    def request(self, row: dict[str, Any], images: ImageStore) -> dict[str, Any]:
        """{"image": bytes, "question": str}."""
        return {"image": images[row["image_id"]], "question": row["question"]}

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
    def __init__(
        self,
        rows: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        augmentation: AugmentationConfig | None,
        labels: list[str],
    ) -> None:
        self.num_labels = len(labels)
        self.numbers = answer_numbers(labels)
        rows = _with_known_answers(rows.select(["image_id", "question", "answers"]), self.numbers)
        super().__init__(rows, "question", images, preprocessor, augmentation)
        if not len(self):
            raise UserError("no training question has an answer in the vocabulary; lower finetuning.min_answer_count")

    def build(self, row: dict[str, Any], text: dict[str, list[int]], generator: np.random.Generator) -> dict[str, Any]:
        labels = np.zeros(self.num_labels, dtype=np.float32)
        for number, count in self._known_answers(row["answers"]).items():
            labels[number] = _TARGET_BY_COUNT.get(count, 1.0)
        return {**text, "labels": labels}

    def pictures(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        return [row["image_id"]], [row["question"], *row["answers"]]

    def _known_answers(self, answers: list[str]) -> dict[int, int]:
        """How many gave each answer of the vocabulary, by its number."""
        counts = Counter(number_of(answer, self.numbers) for answer in answers)
        return {number: count for number, count in counts.items() if number is not None}


def _with_known_answers(rows: "pa.Table", numbers: dict[str, int]) -> "pa.Table":
    """The questions with at least one answer in the vocabulary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = rows["answers"].combine_chunks()
    given = pc.list_flatten(lists)
    known = [answer for answer in given.unique().to_pylist() if number_of(answer, numbers) is not None]
    return rows.take(pc.list_parent_indices(lists).filter(pc.is_in(given, pa.array(known, pa.string()))).unique())


def _prior_scores(questions: list[dict[str, Any]]) -> np.ndarray:
    """Accuracy of always giving each question type's most common answer, that of the scored questions themselves."""
    by_type: dict[Any, Counter[str]] = defaultdict(Counter)
    for row in questions:
        by_type[row["question_type"]][row["answer"] or row["answers"][0]] += 1
    constant = {question_type: answers.most_common(1)[0][0] for question_type, answers in by_type.items()}
    return np.array([vqa_accuracy(constant[row["question_type"]], row["answers"]) for row in questions])
