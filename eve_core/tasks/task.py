"""What every downstream task provides."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from eve_core.config import AugmentationConfig, EvaluationConfig, FinetuningConfig, TaskName
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError
from eve_core.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from eve_core.model import EvePreTrainedModel


@dataclass
class TaskScores:
    """How a model did on the scored rows.

    Attributes:
        metrics: by name; shares are between 0 and 1.
        items: table with item_id, image_id and score, one row an item, always in the same order, with which two models
            are compared item by item. The mean of the scores, weighted by the column weight where there is one, is the
            task's `main_metric`; a score is NaN where the model gave no number. Further columns say what was answered,
            and what the item is like.
    """

    metrics: dict[str, float]
    items: "pa.Table"


class Task(ABC):
    """One downstream task."""

    name: ClassVar[TaskName]
    model_class_name: ClassVar[str]
    """The class in eve_core.model."""
    main_metric: ClassVar[str] = "accuracy"
    """What two models are compared by."""

    @property
    def model_class(self) -> "type[EvePreTrainedModel]":
        """The task's model."""
        import eve_core.model

        model_class: type[EvePreTrainedModel] = getattr(eve_core.model, self.model_class_name)
        return model_class

    def labels(self, rows: "pa.Table", config: FinetuningConfig) -> list[str] | None:
        """The classes that the head distinguishes, learnt from the training rows; None for a task without classes."""
        return None

    @abstractmethod
    def examples(
        self,
        rows: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        labels: list[str] | None,
        augmentation: AugmentationConfig | None = None,
    ) -> Examples:
        """`rows` as training examples, whose pictures are changed as `augmentation` says.

        Raises:
            UserError: rows without the labels that training needs.
        """

    @abstractmethod
    def score(
        self,
        model: "EvePreTrainedModel",
        preprocessor: Preprocessor,
        rows: "pa.Table",
        images: ImageStore,
        config: EvaluationConfig,
        description: str,
    ) -> TaskScores:
        """Score `model` on `rows`; `description` names it on the progress bar."""

    @abstractmethod
    def request(self, row: dict[str, Any], images: ImageStore) -> dict[str, Any]:
        """A row as somebody would ask about it, as `predict` takes it."""

    @abstractmethod
    def predict(
        self, model: "EvePreTrainedModel", preprocessor: Preprocessor, inputs: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Answer requests, as served; the keys are the task's own."""

    def answer(
        self,
        model: "EvePreTrainedModel",
        preprocessor: Preprocessor,
        rows: list[dict[str, Any]],
        images: ImageStore,
        batch_size: int,
        description: str,
    ) -> list[dict[str, Any]]:
        """What `predict` says to every one of `rows`, in their order; `description` names it on the progress bar."""
        answers: list[dict[str, Any]] = []
        with Progress(description, len(rows), "row") as progress:
            for indices in batches(len(rows), batch_size):
                answers += self.predict(model, preprocessor, [self.request(rows[i], images) for i in indices])
                progress.update(len(indices))
        return answers


class Predictor:
    """A fine-tuned model that answers requests."""

    def __init__(self, task: Task, model: "EvePreTrainedModel", preprocessor: Preprocessor) -> None:
        self.task = task
        self.model = model
        self.preprocessor = preprocessor

    @classmethod
    def load(cls, checkpoint: Path | str, get_task: Callable[[str], Task]) -> "Predictor":
        """See `eve_core.tasks.load_predictor`."""
        path = Path(checkpoint) / "config.json"
        try:
            name = json.loads(path.read_text())["task"]
        except (OSError, ValueError, KeyError):
            raise UserError(
                f"{checkpoint} holds no fine-tuned EVE model; give the folder that fine-tuning wrote"
            ) from None
        task = get_task(name)
        model = task.model_class.from_pretrained(checkpoint).eval()
        return cls(task, model, Preprocessor.load(checkpoint))

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer the requests in `rows`."""
        return self.task.predict(self.model, self.preprocessor, rows)


def batches(number: int, size: int) -> Iterator[range]:
    """The indices 0 ... number - 1, `size` at a time."""
    for start in range(0, number, size):
        yield range(start, min(start + size, number))


def text_batch(preprocessor: Preprocessor, texts: list[str], device: "torch.device") -> dict[str, "torch.Tensor"]:
    """Texts -> input_ids and attention_mask (B, L), padded to the longest."""
    import torch

    from eve_core.data.collation import Collator

    pad = preprocessor.tokenizer.pad_token_id
    batch = Collator(pad)([{k: torch.tensor(v) for k, v in preprocessor.text(text).items()} for text in texts])
    return {key: value.to(device) for key, value in batch.items()}
