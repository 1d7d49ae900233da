"""Fine-tuning: a task's head on the pre-trained encoder."""

from pathlib import Path
from typing import TYPE_CHECKING

from eve_core.config import FinetuningConfig, TaskDataConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import training_rows
from eve_core.tasks import get_task
from eve_core.training.trainer import LogMetrics, train, write_log

if TYPE_CHECKING:
    import torch
    from torch import nn

    from eve_core.objectives import Losses


def finetune(
    data: PreparedData,
    task_name: str,
    task_data: TaskDataConfig,
    config: FinetuningConfig,
    pretrained: Path,
    out: Path,
    *,
    seed: int,
    scratch: Path,
    log: LogMetrics | None = None,
) -> None:
    """Fine-tune `pretrained` for a task and write model, tokenizer and training log to `out`.

    Args:
        data: prepared data.
        task_name: vqa, nlvr2 or retrieval.
        task_data: the task's rows.
        config: optimizer, schedule, head.
        pretrained: folder that `pretrain` wrote.
        out: folder to write.
        seed: of every draw.
        scratch: folder for checkpoints to resume from.
        log: called with metrics and step.

    Raises:
        UserError: the data set lacks what the config names, or `pretrained` is no pre-trained model.
    """
    import torch

    from eve_core.model import EveConfig

    task = get_task(task_name)
    rows = training_rows(data, task_data)
    preprocessor = Preprocessor.load(pretrained)
    labels = task.labels(rows, config)
    examples = task.examples(rows, data.images, preprocessor, labels)

    eve_config = EveConfig.from_pretrained(pretrained)
    eve_config.task = task_name
    if labels is not None:
        eve_config.id2label = dict(enumerate(labels))
        eve_config.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(seed)  # the head is drawn, the rest is loaded
    model = task.model_class.from_pretrained(pretrained, config=eve_config)
    history = train(
        model,
        examples,
        _task_loss,
        config.optimization,
        seed=seed,
        pad_token_id=preprocessor.tokenizer.pad_token_id,
        description=f"fine-tuning {task_name}",
        scratch=scratch,
        log=log,
        head_learning_rate_multiplier=config.head_learning_rate_multiplier,
    )
    model.save_pretrained(out)
    preprocessor.save(out)
    write_log(history, out)


def _task_loss(model: "nn.Module", batch: dict[str, "torch.Tensor"]) -> "Losses":
    """The task's own loss + 0.001 x load balance."""
    from eve_core.objectives import LOAD_BALANCE_WEIGHT, Losses

    output = model(**batch)
    parts = {
        name: value.detach()
        for name, value in output.items()
        if name in ("itc_loss", "itm_loss", "load_balance_loss") and value is not None
    }
    return Losses(output.loss + LOAD_BALANCE_WEIGHT * output.load_balance_loss, parts)
