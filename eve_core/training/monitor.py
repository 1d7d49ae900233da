"""A training run seen from outside: the bar, the metrics, the speed, the warnings."""

import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from eve_core.config import OptimizationConfig
from eve_core.progress import Progress
from eve_core.training.batching import Batching
from eve_core.training.guards import Warner
from eve_core.training.throughput import peak_flops

LogMetrics = Callable[[dict[str, float], int], None]
KeepFolder = Callable[[Path], None]


class Monitor:
    """Shows how far and how fast a run is.

    Args:
        description: what the progress bar says.
        config: batch and precision.
        steps: of the run.
        batching: over how many processes.
        flops: floating-point operations of an example in a step, if known.
        log: called with metrics and step.
    """

    def __init__(
        self,
        description: str,
        config: OptimizationConfig,
        steps: int,
        batching: Batching,
        flops: float | None,
        log: LogMetrics | None,
    ) -> None:
        self.waited = 0.0
        """Seconds that training waited for data since the last measurement."""
        self.callback = _Reporter(self)
        self.batching = batching
        self._config, self._flops, self._log = config, flops, log
        self._progress = Progress(description, steps, "step", shown=is_first_process())
        self._warner = Warner()
        self._note = ""
        self._last = (0, 0.0)
        self._peak: float | None = None

    def __enter__(self) -> "Monitor":
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def start(self, step: int, device: torch.device) -> None:
        """Training begins, or goes on, at `step`."""
        if self._flops is not None:
            dtype = torch.bfloat16 if self._config.precision == "bf16" else torch.float32
            self._peak = self.batching.processes * peak_flops(device, dtype)
        self._last = (step, time.perf_counter())
        self.move(step)

    def move(self, step: int) -> None:
        """Show that `step` is done."""
        self._progress.update_to(step, self._note)

    def measure(self, step: int) -> dict[str, float]:
        """Speed since the last measurement.

        Returns:
            examples_per_second; data_wait, the share of the time that training waited for data; memory_gb, the most
            that was in use; mfu, the share of the machine's peak, where the work is known.
        """
        (before, then), now = self._last, time.perf_counter()
        self._last = (step, now)
        rate = (step - before) * self._config.batch_size / (now - then)
        speed = {"examples_per_second": rate, "data_wait": self.waited / (now - then), "memory_gb": _memory()}
        if self._flops is not None and self._peak:
            speed["mfu"] = rate * self._flops / self._peak
        self.waited = 0.0
        return speed

    def report(self, entry: dict[str, Any], step: int) -> None:
        """A new entry of the log."""
        if not is_first_process():
            return
        mfu = f", MFU {entry['mfu']:.0%}" if "mfu" in entry else ""
        waiting = f", waiting for data {entry['data_wait']:.0%}" if entry["data_wait"] >= 0.05 else ""
        self._note = f"loss {entry['loss']:.3f}, {entry['examples_per_second']:.3g}/s{mfu}{waiting}"
        self._warner.look_at(entry, step)
        log_if_possible(self._log, _numbers(entry), step)


class _Reporter(TrainerCallback):
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._monitor.start(state.global_step, args.device)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._monitor.move(state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self._monitor.report(logs, state.global_step)


def log_if_possible(log: LogMetrics | None, metrics: dict[str, float], step: int) -> None:
    """Log, or warn: whatever tracks a training may be away for a while, and the training goes on."""
    try:
        if log is not None:
            log(metrics, step)
    except Exception as error:
        warnings.warn(f"the metrics of step {step} could not be logged: {error}", stacklevel=2)


def keep_if_possible(keep: KeepFolder | None, folder: Path) -> None:
    """Hand a folder of pictures on, or warn, as with metrics."""
    try:
        if keep is not None:
            keep(folder)
    except Exception as error:
        warnings.warn(f"the pictures in {folder} could not be logged: {error}", stacklevel=2)


def is_first_process() -> bool:
    """Whether this is the process that speaks for all that torchrun started."""
    return int(os.environ.get("RANK", 0)) == 0


def _memory() -> float:
    """The most memory in use so far, in GB: the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    """What a tracking server can plot: numbers as they are, of a vector its largest value."""
    numbers = {name: float(value) for name, value in entry.items() if isinstance(value, int | float)}
    return numbers | {f"{name}_max": max(value) for name, value in entry.items() if isinstance(value, list)}
