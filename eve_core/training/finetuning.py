"""Fine-tuning: a task's head on the pre-trained encoder."""

from functools import partial
from pathlib import Path

from eve_core.config import FinetuningConfig, TaskDataConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import training_rows
from eve_core.data.tokenizer import check_fits
from eve_core.errors import UserError
from eve_core.model_digest import model_digest
from eve_core.tasks import get_task
from eve_core.training.batching import Batching
from eve_core.training.monitor import LogMetrics, is_first_process
from eve_core.training.trainer import train, write_log


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
        config: optimizer, schedule, head, size of the pictures.
        pretrained: folder that `pretrain` wrote.
        out: folder to write.
        seed: of every draw.
        scratch: folder for checkpoints to resume from.
        log: called with metrics and step.

    Raises:
        UserError: the data set lacks what the config names, `pretrained` is no pre-trained model, or the config asks
            for what the task or the model does not have.
    """
    import torch

    from eve_core.model import EveConfig
    from eve_core.model.flops import finetuning_flops
    from eve_core.objectives import finetuning_loss

    if config.head != "plain" and task_name != "nlvr2":
        raise UserError(f"{task_name}: finetuning.head {config.head} is a choice of nlvr2 alone; remove it")
    task = get_task(task_name)
    rows = training_rows(data, task_data)
    preprocessor = Preprocessor.load(pretrained)
    labels = task.labels(rows, config)
    examples = task.examples(rows, data.images, preprocessor, labels, config.augmentation)

    eve_config = EveConfig.from_pretrained(pretrained)
    check_fits(preprocessor.tokenizer, eve_config.vocab_size, pretrained)
    eve_config.task = task_name
    eve_config.pretrained_digest = model_digest(pretrained)
    eve_config.visual_reasoning_head = config.head
    # No patch is masked any more, and a mask token without gradient would stall data parallelism.
    eve_config.mask_tokens_in_encoder = False
    if labels is not None:
        eve_config.id2label = dict(enumerate(labels))
        eve_config.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(seed)  # the head is drawn, the rest is loaded
    model = task.model_class.from_pretrained(pretrained, config=eve_config)
    if config.image_size is not None:
        try:
            model.resize_images(config.image_size)
        except ValueError as error:
            raise UserError(f"{task_name}: finetuning.{error}; choose a multiple") from None
        preprocessor.image_size = config.image_size  # the examples go through it, and it is saved with the model
    if task_name == "retrieval":
        Batching.of(config.optimization).refuse_accumulation("retrieval's ITC and ITM")
    history = train(
        model,
        examples,
        partial(finetuning_loss, load_balance_weight=config.load_balance_weight),
        config.optimization,
        seed=seed,
        pad_token_id=preprocessor.tokenizer.pad_token_id,
        description=f"fine-tuning {task_name}",
        scratch=scratch,
        log=log,
        head_learning_rate_multiplier=config.head_learning_rate_multiplier,
        flops=finetuning_flops(eve_config, task_name, examples.mean_tokens()),
        origin={
            "data": data.digest,
            "quarantine": data.quarantine_digest,
            "task_data": task_data.model_dump(mode="json"),
            "finetuning": config.model_dump(mode="json", exclude={"optimization", "launch"}),
        },
    )
    if is_first_process():
        model.save_pretrained(out)
        preprocessor.save(out)
        write_log(history, out)
