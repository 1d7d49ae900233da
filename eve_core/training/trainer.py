"""The loop: transformers' Trainer, fed by a schedule of positions and minimising one of our objectives."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from eve_core.config import OptimizationConfig
from eve_core.data.collation import Collator
from eve_core.data.examples import Examples
from eve_core.data.schedule import LengthBuckets, ShuffledEpochs
from eve_core.data.transforms import normalize
from eve_core.errors import UserError, explain_os_error
from eve_core.memory import keep_freed_memory
from eve_core.objectives import Losses
from eve_core.progress import Progress
from eve_core.training.checkpoints import last_complete_checkpoint, mark_complete

Objective = Callable[[nn.Module, dict[str, torch.Tensor]], Losses]
LogMetrics = Callable[[dict[str, float], int], None]
TRAINING_LOG = "training_log.jsonl"
_LOGS_A_RUN = 60


def train(
    model: nn.Module,
    examples: Examples,
    objective: Objective,
    config: OptimizationConfig,
    *,
    seed: int,
    pad_token_id: int,
    description: str,
    scratch: Path,
    log: LogMetrics | None = None,
    head_learning_rate_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Train `model` in place for `config.steps` steps.

    A run that was interrupted goes on from its newest whole checkpoint in `scratch`.

    Args:
        model: what is trained.
        examples: what it is trained on.
        objective: what is minimised.
        config: optimizer, schedule, precision.
        seed: of the order, the augmentation, the masks and the dropout.
        pad_token_id: of the tokenizer.
        description: what the progress bar says.
        scratch: folder for checkpoints to resume from.
        log: called with metrics and step, a few dozen times a run.
        head_learning_rate_multiplier: for parameters outside `backbone`.

    Returns:
        The log: step, loss, its parts, learning rate and gradient norm, one entry a few steps. What an objective
        reports as a vector (the experts' loads) is a list there, and its largest value goes to `log`, as <name>_max.

    Raises:
        UserError: there are no examples, the loss is not finite, or the disk is full.
    """
    if len(examples) == 0:
        raise UserError(f"{description}: there is nothing to train on; check the data splits in the config")
    set_seed(seed)
    buckets = LengthBuckets(examples.count_tokens(), config.batch_size) if config.length_buckets else None
    schedule = ShuffledEpochs(examples, config.steps * config.batch_size, seed, buckets)
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        keep_freed_memory()
    arguments = TrainingArguments(
        output_dir=str(scratch),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=math.ceil(config.warmup * config.steps),
        weight_decay=config.weight_decay,
        adam_beta2=config.beta2,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=config.precision == "bf16",
        use_cpu=on_cpu,
        seed=seed,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        logging_strategy="steps",
        logging_steps=max(1, config.steps // _LOGS_A_RUN),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=[],
        log_level="error",
    )
    trainer = _EveTrainer(
        model=model,
        args=arguments,
        train_dataset=schedule,
        data_collator=Collator(pad_token_id, normalized=False),
        objective=objective,
        head_multiplier=head_learning_rate_multiplier,
    )
    resume = last_complete_checkpoint(scratch)
    with Progress(description, config.steps, "step") as progress:
        trainer.remove_callback(_printer())
        trainer.add_callback(_Reporter(progress, log))
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except OSError as error:
            raise explain_os_error(error, f"{description}, writing a checkpoint in {scratch}") from error
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def write_log(history: list[dict[str, Any]], folder: Path) -> None:
    """Keep the training log beside the model, one JSON line an entry."""
    (folder / TRAINING_LOG).write_text("".join(json.dumps(entry) + "\n" for entry in history))


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices of linear layers, convolutions, experts and words, nothing else."""
    return parameter.dim() >= 2 and "position_embeddings" not in name and "_bias" not in name


class _EveTrainer(Trainer):
    def __init__(self, *, objective: Objective, head_multiplier: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = False
        self._objective = objective
        self._head_multiplier = head_multiplier
        self.optimizer: torch.optim.Optimizer | None
        self._parts: dict[str, list[torch.Tensor]] = {}

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # the schedule has the order in it

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs = super()._prepare_inputs(inputs)  # on the model's device
        if "pixel_values" in inputs:
            inputs["pixel_values"] = normalize(inputs["pixel_values"])
        return inputs

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        losses = self._objective(model, inputs)
        if not bool(torch.isfinite(losses.total)):
            raise UserError(
                f"the loss is {float(losses.total.detach())} at step {self.state.global_step + 1}; lower the learning "
                "rate or use precision float32"
            )
        for name, value in losses.parts.items():
            self._parts.setdefault(name, []).append(value.float())
        return losses.total

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        parts = {name: torch.stack(values).mean(0).tolist() for name, values in self._parts.items()}
        self._parts = {}
        super().log({**logs, **parts}, *args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                key = (decays(name, parameter), name.startswith("backbone."))
                groups.setdefault(key, []).append(parameter)
            rate = self.args.learning_rate
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                        "lr": rate if backbone else rate * self._head_multiplier,
                    }
                    for (decay, backbone), parameters in groups.items()
                ],
                lr=rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
                fused=True,
            )
        return self.optimizer


class _Reporter(TrainerCallback):
    """Moves the progress bar, passes metrics on, and marks whole checkpoints."""

    def __init__(self, progress: Progress, log: LogMetrics | None) -> None:
        self._progress = progress
        self._log = log
        self._note = ""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress.update_to(state.global_step, self._note)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self._note = f"loss {logs['loss']:.3f}"
            if self._log is not None:
                self._log(_numbers(logs), state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _numbers(logs: dict[str, Any]) -> dict[str, float]:
    """What a tracking server can plot: numbers as they are, of a vector its largest value."""
    numbers = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
    return numbers | {f"{name}_max": max(value) for name, value in logs.items() if isinstance(value, list)}


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
