"""SIGTERM, which a preempted machine gets a few seconds before it is taken away: save, and stop."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PREEMPTED_STATUS = 143
"""What a process that stopped for SIGTERM exits with."""


class SaveOnSigterm(TrainerCallback):
    """Stops at the end of the step in which any process got the signal, with a checkpoint."""

    def __init__(self) -> None:
        self.signalled = False
        """Some process has got SIGTERM."""
        self.stopped = False
        """Training was stopped for it; a signal after the last step stops nothing."""
        self._stopping = False
        self._before: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the signal."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask all processes, where they have just waited for the gradient's norm anyhow.

        They stop at the same step, or those that go on would wait for the others for ever.
        """
        anywhere = torch.tensor(int(self.signalled), device=args.device)
        if args.world_size > 1:
            distributed.all_reduce(anywhere, distributed.ReduceOp.MAX)
        self._stopping = bool(anywhere)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop here if any process was told to."""
        if self._stopping:
            self.signalled = self.stopped = True
            control.should_save = control.should_training_stop = True

    def restore(self) -> None:
        """Give the signal back to whoever had it."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
