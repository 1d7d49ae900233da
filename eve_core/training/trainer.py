"""The loop: transformers' Trainer, fed by a schedule of positions and minimising one of our objectives."""

import contextlib
import copy
import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

from eve_core.config import OptimizationConfig, flat
from eve_core.data.collation import Collator
from eve_core.data.examples import Examples
from eve_core.data.schedule import LengthBuckets, ShuffledEpochs
from eve_core.data.transforms import normalize
from eve_core.errors import Preempted, UserError, explain_os_error
from eve_core.memory import keep_freed_memory
from eve_core.model.global_batch import add_up
from eve_core.objectives import Losses, Share
from eve_core.training.batching import Batching
from eve_core.training.checkpoints import CheckpointWriter
from eve_core.training.guards import refuse_different_processes, write_not_finite
from eve_core.training.monitor import LogMetrics, Monitor, is_first_process
from eve_core.training.preemption import SaveOnSigterm
from eve_core.training.sharding import gather_model, gather_optimizer, load_model, load_optimizer, shard

Objective = Callable[[nn.Module, dict[str, torch.Tensor], Share], Losses]
TRAINING_LOG = "training_log.jsonl"
_LOGS_A_RUN, _STEPS_A_LOG = 60, 50
_LOOKS_A_RUN, _STEPS_A_LOOK = 4, 5000


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
    flops: float | None = None,
    origin: dict[str, Any] | None = None,
    look: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place for `config.steps` steps, in as many processes as torchrun started.

    A run that was interrupted goes on from its newest whole checkpoint in `scratch`, and ends as if it had not been.

    Args:
        model: what is trained.
        examples: what it is trained on.
        objective: what is minimised.
        config: optimizer, schedule, precision.
        seed: of the order, the augmentation, the masks and the dropout.
        pad_token_id: of the tokenizer.
        description: what the progress bar says.
        scratch: folder for checkpoints to resume from, common to all processes.
        log: called with metrics and step, a few dozen times a run, by the first process.
        head_learning_rate_multiplier: for parameters outside `backbone`.
        flops: floating-point operations of an example in a step; with it, the share of the machine's peak is reported.
        look: called with the step a few times a run, by the first process, to draw what the model does by then.
        origin: what else the run follows from (data, objective, tokenizer), as JSON can hold it.

    Returns:
        The log: step, loss, its parts, learning rate and gradient norm, one entry a few steps. What an objective
        reports as a vector (the experts' loads) is a list there, and its largest value goes to `log`, as <name>_max.

    Raises:
        UserError: there are no examples, too few for the processes, or the batch cannot be spread over them; the loss
            or a gradient is not finite; the checkpoint is of another run; or the disk is full.
        Preempted: the process got SIGTERM; it goes on from here when it is started again.
    """
    if len(examples) == 0:
        raise UserError(f"{description}: there is nothing to train on; check the data splits in the config")
    steps = config.steps_of(len(examples))
    batching = Batching.of(config)
    if batching.processes > 1 and len(examples) < config.batch_size:
        raise UserError(
            f"{description}: {len(examples):,} examples are too few for {batching.processes} processes with a batch of "
            f"{config.batch_size:,}; use fewer processes, or a smaller optimization.batch_size"
        )
    if config.fsdp and batching.processes == 1:
        raise UserError(
            f"{description}: optimization.fsdp spreads a model over processes, but there is one; set launch.processes, "
            "or turn it off"
        )
    set_seed(seed)
    buckets = LengthBuckets(examples.count_tokens(), config.batch_size) if config.length_buckets else None
    schedule = ShuffledEpochs(examples, steps * config.batch_size, seed, buckets)
    settings = flat(
        {
            "processes": batching.processes,
            "micro_batch": batching.micro_batch,
            "seed": seed,
            "examples": len(examples),
            "optimization": config.model_dump(mode="json"),
            "head_learning_rate_multiplier": head_learning_rate_multiplier,
            "parameters": {name: list(parameter.shape) for name, parameter in model.named_parameters()},
            **(origin or {}),
        }
    )
    run = json.loads(json.dumps(settings, default=str))  # as a checkpoint's record gives it back
    incidental = {f"optimization.{name}" for name in config.INCIDENTAL}
    kept = {name: value for name, value in run.items() if name not in incidental}
    writer = CheckpointWriter(scratch, kept, config.checkpoints_kept)
    preemption = SaveOnSigterm()
    disable_progress_bar()  # of writing a checkpoint's files; the run has its own
    with Monitor(description, config, steps, batching, flops, log) as monitor:
        trainer = _EveTrainer(
            # A sharded model stays so; the first process has the whole one for what wants to look at it.
            model=copy.deepcopy(model) if config.fsdp and is_first_process() else model,
            args=_arguments(config, steps, batching, seed, scratch),
            train_dataset=schedule,
            data_collator=Collator(pad_token_id, normalized=False),
            callbacks=[preemption, monitor.callback],
            objective=objective,
            head_multiplier=head_learning_rate_multiplier,
            layer_decay=config.layer_decay,
            exact_load_balance=config.exact_load_balance,
            fsdp=config.fsdp,
            writer=writer,
            preemption=preemption,
            monitor=monitor,
        )
        trainer.remove_callback(_printer())

        def collect() -> None:
            if config.fsdp and (whole := gather_model(trainer.model)):
                model.load_state_dict(whole)

        if look:
            trainer.add_callback(_Look(look, steps, collect))
        refuse_different_processes(run)
        if batching.processes > 1:  # every process drops paths of its own; a resumed one goes on with its checkpoint's
            set_seed(seed + trainer.args.process_index)
        try:
            resume = _agree(writer.newest)
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            writer.wait()
            collect()
        except OSError as error:
            raise explain_os_error(error, f"{description}, writing a checkpoint in {scratch}") from error
        finally:
            preemption.restore()
            writer.close()
    if preemption.stopped:
        raise Preempted(
            f"{description} was told to stop (SIGTERM) and saved step {trainer.state.global_step:,} of "
            f"{steps:,}; run it again to go on from there"
        )
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _arguments(
    config: OptimizationConfig, steps: int, batching: Batching, seed: int, scratch: Path
) -> TrainingArguments:
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        keep_freed_memory()
    arguments = TrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=batching.micro_batch,
        gradient_accumulation_steps=batching.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=math.ceil(config.warmup * steps),
        weight_decay=config.weight_decay,
        adam_beta2=config.beta2,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=config.precision == "bf16",
        activation_checkpointing=config.activation_checkpointing,
        torch_compile=config.compile,
        ddp_find_unused_parameters=False,
        ddp_timeout=config.collective_timeout,
        use_cpu=on_cpu,
        seed=seed,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        logging_strategy="steps",
        logging_steps=max(1, min(steps // _LOGS_A_RUN, _STEPS_A_LOG)),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoint_steps,
        disable_tqdm=True,
        report_to=[],
        log_level="error",
    )
    # Without torchrun the Trainer would spread a batch over all GPUs of the machine by DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def write_log(history: list[dict[str, Any]], folder: Path) -> None:
    """Keep the training log beside the model, one JSON line an entry."""
    (folder / TRAINING_LOG).write_text("".join(json.dumps(entry) + "\n" for entry in history))


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices of linear layers, convolutions, experts and words, nothing else."""
    return parameter.dim() >= 2 and "position_embeddings" not in name and "_bias" not in name


def depth(name: str, blocks: int) -> int:
    """How far above the input a parameter of the backbone is: the embeddings 0, then block by block, the last norm with
    the last block.
    """
    parts = name.split(".")
    if parts[1] == "blocks":
        return 1 + int(parts[2])
    return blocks if parts[1] == "norm" else 0


class _EveTrainer(Trainer):
    """What the Trainer leaves to us: the losses of a whole batch, a guard before the update, whole checkpoints."""

    def __init__(
        self,
        *,
        objective: Objective,
        head_multiplier: float,
        layer_decay: float,
        exact_load_balance: bool,
        fsdp: bool,
        writer: CheckpointWriter,
        preemption: SaveOnSigterm,
        monitor: Monitor,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = True  # a micro-batch's losses are its share of the step's
        self._objective = objective
        self._head_multiplier = head_multiplier
        self._layer_decay = layer_decay
        self._exact_load_balance = exact_load_balance
        self._fsdp = fsdp
        if fsdp:
            shard(self.model, self.args.device, self.args.world_size)
            self.is_distributed_loading_by_transformers = True  # no DDP around it
            self.model._is_fsdp_managed_module = True  # and `_defer_fsdp_gradient_reduction` in place of its no_sync
        self._writer = writer
        self._preemption = preemption
        self._monitor = monitor
        self.optimizer: torch.optim.Optimizer | None
        self._batches: list[dict[str, torch.Tensor]] = []
        self._shares: deque[Share] = deque()
        self._parts: dict[str, list[torch.Tensor]] = {}
        self._seen: dict[str, list[torch.Tensor]] = {}
        self._steps_since_log = 0

    # The batch of a step.

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # the schedule has the order in it

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs = super()._prepare_inputs(inputs)  # on the model's device
        if "pixel_values" in inputs:
            inputs["pixel_values"] = normalize(inputs["pixel_values"])
        return inputs

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, torch.Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, torch.Tensor]], None]:
        """The micro-batches of a step."""
        asked = time.perf_counter()
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._monitor.waited += time.perf_counter() - asked
        self._batches = batches
        return batches, None

    def _share_out(self, batches: list[dict[str, torch.Tensor]]) -> list[Share]:
        """What each micro-batch is of the whole; asked for with its loss, when a resumed run has its random state."""
        world, examples, choices = self.args.world_size, 1 / len(batches), self._count_first_choices(batches)
        if "token_mask" not in batches[0] or (world == 1 and len(batches) == 1):
            return [Share(examples, first_choices=choices) for _ in batches]
        own = torch.stack([batch["token_mask"].sum() for batch in batches]).to(self.args.device)
        total = add_up(own.sum())
        return [Share(examples, number * world / total, choices) for number in own]

    def _count_first_choices(self, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor | None:
        """With accumulation, the experts' first choices in the whole batch, from a forward pass ahead."""
        if len(batches) == 1 or not self._exact_load_balance:
            return None
        # The same drop path as in the pass that follows.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), self.compute_loss_context_manager():
            uses = [self.model_wrapped(**self._prepare_inputs(dict(batch))).expert_use for batch in batches]
        return add_up(torch.stack([use.first_choices for use in uses]).sum(0))

    # The loss.

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        if not self._shares:
            self._shares.extend(self._share_out(self._batches))
        losses = self._objective(model, inputs, self._shares.popleft())
        for name, value in losses.parts.items():
            self._parts.setdefault(name, []).append(value.float())
        for name, value in losses.seen.items():
            self._seen.setdefault(name, []).append(value.float())
        return losses.total

    def _get_grad_norm(self, model: nn.Module, grad_norm: torch.Tensor | None = None) -> torch.Tensor:
        norm = torch.as_tensor(super()._get_grad_norm(model, grad_norm))
        self._steps_since_log += 1
        if not bool(torch.isfinite(norm + self._tr_loss)):  # between the gradient and the update
            last = -self.args.gradient_accumulation_steps
            parts = {name: float(torch.stack(values[last:]).sum()) for name, values in self._parts.items()}
            numbers = {"gradient_norm": float(norm), **parts, "learning_rate": self._get_learning_rate()}
            step = self.state.global_step + 1
            raise write_not_finite(Path(self.args.output_dir), step, numbers, self._ids_of(step))
        return norm

    def _ids_of(self, step: int) -> list[dict[str, Any]]:
        schedule, size = self.train_dataset, self._monitor.batching.whole
        places = [schedule.place(position) for position in range((step - 1) * size, step * size)]
        return [{"epoch": epoch, **schedule.examples.identify(index)} for epoch, index in places]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not the Trainer's guess from the number of parameters; see `Monitor`."""
        return 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """With workers that leave SIGTERM, which goes to a whole group of processes, to the one that saves."""
        loader = super().get_train_dataloader()
        inner = getattr(loader, "base_dataloader", loader)  # accelerate's own wraps PyTorch's
        inner.worker_init_fn = partial(_without_sigterm, inner.worker_init_fn)
        return loader

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        steps = max(1, self._steps_since_log)
        numbers = {name: torch.stack(values).sum(0) / steps for name, values in self._parts.items()}
        numbers |= {name: torch.stack(values).mean(0) for name, values in self._seen.items()}
        if self.args.world_size > 1:
            for number in numbers.values():
                distributed.all_reduce(number, distributed.ReduceOp.SUM)
                number /= self.args.world_size
        self._parts, self._seen, self._steps_since_log = {}, {}, 0
        extra = self._monitor.measure(self.state.global_step) if "loss" in logs else {}
        super().log({**logs, **{name: number.tolist() for name, number in numbers.items()}, **extra}, *args, **kwargs)

    # The optimizer.

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
            blocks = getattr(getattr(self.model, "config", None), "num_hidden_layers", 0)
            for name, parameter in self.model.named_parameters():
                multiplier = self._head_multiplier
                if name.startswith("backbone."):
                    multiplier = self._layer_decay ** (blocks + 1 - depth(name, blocks))
                # Single numbers, which FSDP2 leaves as they are, cannot be updated in one go with what it shards.
                kind = (decays(name, parameter), multiplier, self._fsdp and parameter.dim() == 0)
                groups.setdefault(kind, []).append(parameter)
            rate = self.args.learning_rate
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                        "lr": rate * multiplier,
                    }
                    for (decay, multiplier, _), parameters in groups.items()
                ],
                lr=rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
                fused=True,
            )
        return self.optimizer

    # Checkpoints.

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The Trainer's files, under names that its resuming knows, written by our writer."""
        step = self.state.global_step
        folder = self._writer.unfinished / f"checkpoint-{step}"
        if self.args.should_save:
            self._writer.begin(step)
            self.state.save_to_json(str(folder / "trainer_state.json"))
            torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")
        self._together()
        self._save_rng_state(str(folder))  # each process its own
        self._together()
        if self._fsdp:  # in all processes
            weights, moments = gather_model(self.model), gather_optimizer(*self._sharded())
        if self.args.should_save:
            if not self._fsdp:
                assert self.optimizer is not None
                weights, moments = self.accelerator.unwrap_model(self.model).state_dict(), self.optimizer.state_dict()
            files = {"model.safetensors": weights, "optimizer.pt": moments}
            # Who has got SIGTERM has no time for digests.
            self._writer.finish(step, files, digests=not self._preemption.signalled)

    def _sharded(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        assert self.optimizer is not None
        return self.model, getattr(self.optimizer, "optimizer", self.optimizer)  # accelerate's own wraps PyTorch's

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self._fsdp:
            load_model(self.model, Path(resume_from_checkpoint) / "model.safetensors")
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._fsdp and checkpoint is not None:
            load_optimizer(*self._sharded(), Path(checkpoint) / "optimizer.pt")
            self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)

    @contextlib.contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """While micro-batches are accumulated."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def _together(self) -> None:
        if self.args.world_size > 1:
            distributed.barrier()


class _Look(TrainerCallback):
    def __init__(self, look: Callable[[int], None], steps: int, collect: Callable[[], None]) -> None:
        self._look = look
        self._collect = collect
        self._every = max(1, min(steps // _LOOKS_A_RUN, _STEPS_A_LOOK))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._every == 0:
            self._collect()  # in all processes
            if is_first_process():
                self._look(state.global_step)


def _without_sigterm(init: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if init is not None:
        init(worker)


def _agree(decide: Callable[[], Any]) -> Any:
    """What the first process decides, in all of them."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return decide()
    answer: list[Any] = [None]
    if distributed.get_rank() == 0:
        try:
            answer = [decide()]
        except (UserError, OSError) as error:
            answer = [error]
    distributed.broadcast_object_list(answer)
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
