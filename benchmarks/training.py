"""What training adds to its arithmetic: the share of a step outside forward, backward and optimizer, and how long a
checkpoint holds it up against writing the same bytes once.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import mock

from transformers import Trainer

from benchmarks.results import Line, parser, publish
from benchmarks.samples import COCO_SAMPLE, draw_photographs, prepare_photographs
from eve_core.config import LaunchConfig, PretrainingConfig
from eve_core.training import TrainingJob, launch
from eve_core.training import trainer as loop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERHEAD_TARGET, STALL_TARGET = 0.05, 1.2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--size", choices=("tiny", "base", "large"), help="of the network (base; tiny with --quick)")
    command.add_argument("--batch", type=int, help="pairs a step (8)")
    command.add_argument("--steps", type=int, help="steps, every fourth with a checkpoint behind it (16)")
    options = command.parse_args(arguments)
    size = options.size or ("tiny" if options.quick else "base")
    batch, steps = options.batch or 8, options.steps or (8 if options.quick else 16)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = COCO_SAMPLE.is_dir() and not options.quick
        coco = COCO_SAMPLE if real else draw_photographs(folder / "coco", 16)
        job = pretraining_job(prepare_photographs(coco, folder / "prepared"), folder / "run", size, batch, steps, 4)
        clock = _Clock()
        with clock.watching():
            launch(job, LaunchConfig(), None)
        checkpoint = max(Path(job.scratch).glob("checkpoint-*"))
        number, writes = _write_once(checkpoint, folder / "copies", len(clock.saved))

    whole, arithmetic = clock.steps[1:], clock.arithmetic[1:]  # the first step builds kernels
    overhead = 1 - sum(arithmetic) / sum(whole)
    rows = [
        {"what": "step", "best_seconds": min(whole), "median_seconds": statistics.median(whole)},
        {"what": "checkpoint", "best_seconds": min(clock.saved), "median_seconds": statistics.median(clock.saved)},
        {"what": "writing its bytes", "best_seconds": min(writes), "median_seconds": statistics.median(writes)},
    ]
    stall = statistics.median(clock.saved) / statistics.median(writes)
    measured = {"rows": rows, "overhead": overhead, "stall": stall, "checkpoint_gb": number / 1e9}
    lines = [
        Line("step outside forward, backward, optimizer", overhead, "{:.1%}", OVERHEAD_TARGET, at_most=True),
        Line("checkpoint: stand-still to writing its bytes", stall, "{:.2f} x", STALL_TARGET, at_most=True),
        Line("checkpoint, GB", number / 1e9),
    ]
    publish("training", options, {"size": size, "batch": batch, "steps": steps}, measured, lines, _draw)


def pretraining_job(
    prepared: Path, folder: Path, size: str, batch: int, steps: int, checkpoint_steps: int
) -> TrainingJob:
    """Pre-training of a named size on prepared photographs, as a pipeline's step would do it."""
    config = {
        "data": [{"set": "coco_captions", "splits": ["train"]}],
        "optimization": {
            "steps": steps,
            "batch_size": batch,
            "learning_rate": 1e-4,
            "checkpoint_steps": checkpoint_steps,
            "checkpoints_kept": 1,
        },
        "augmentation": {},
    }
    out = folder / "out"
    out.mkdir(parents=True)
    return TrainingJob(
        task=None,
        prepared=str(prepared),
        validated=None,
        settings={
            "pretraining": PretrainingConfig.model_validate(config).model_dump(mode="json"),
            "model": {"size": size},
            "tokenizer": {"vocab_size": 2000},
        },
        pretrained=None,
        out=str(out),
        scratch=str(folder / "scratch"),
        seed=0,
    )


class _Clock:
    """Times the parts of a run from outside."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.arithmetic: list[float] = []
        self.saved: list[float] = []
        self._asked = self._updated = self._spent = 0.0

    def watching(self) -> Any:
        """While this lasts, the loop is watched."""
        trainer = loop._EveTrainer
        watched: dict[str, Any] = {
            "get_batch_samples": self._begin(trainer.get_batch_samples),
            "compute_loss": self._part(trainer.compute_loss),
            "create_accelerator_and_postprocess": self._backward(Trainer.create_accelerator_and_postprocess),
            "create_optimizer": self._optimizer(trainer.create_optimizer),
            "_maybe_log_save_evaluate": self._end(Trainer._maybe_log_save_evaluate),
            "_save_checkpoint": self._save(trainer._save_checkpoint),
        }
        return mock.patch.multiple(trainer, **watched)

    def _part(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self._spent += time.perf_counter() - start

        return timed

    def _begin(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A step lasts from asking for its batch to the end of its update, without the checkpoint behind it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self._asked, self._spent = time.perf_counter(), 0.0
            return call(*arguments, **named)

        return timed

    def _save(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            call(*arguments, **named)
            self.saved.append(time.perf_counter() - start)

        return timed

    def _optimizer(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            optimizer = call(*arguments, **named)
            optimizer.register_step_pre_hook(lambda *_: setattr(self, "_updated", time.perf_counter()))
            optimizer.register_step_post_hook(lambda *_: self._end_of_update())
            return optimizer

        return timed

    def _end_of_update(self) -> None:
        self.arithmetic.append(self._spent + time.perf_counter() - self._updated)

    def _backward(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(trainer: Any) -> None:
            call(trainer)
            trainer.accelerator.backward = self._part(trainer.accelerator.backward)

        return timed

    def _end(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """After the callbacks of a step; and once more, after the last one."""

        def timed(*arguments: Any, **named: Any) -> Any:
            if len(self.steps) < len(self.arithmetic):
                self.steps.append(time.perf_counter() - self._asked)
            return call(*arguments, **named)

        return timed


def _write_once(checkpoint: Path, folder: Path, times: int) -> tuple[int, list[float]]:
    """Bytes of a checkpoint, and seconds to write them, file by file, as often as it was written."""
    contents = [path.read_bytes() for path in sorted(checkpoint.iterdir())]
    seconds = []
    for _ in range(times):
        folder.mkdir()
        start = time.perf_counter()
        for number, content in enumerate(contents):
            (folder / str(number)).write_bytes(content)
        seconds.append(time.perf_counter() - start)
        shutil.rmtree(folder)
    return sum(map(len, contents)), seconds


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    parts, checkpoint = figure.subplots(1, 2)
    outside = measured["overhead"]
    parts.bar(
        ["forward, backward,\noptimizer", "everything else"], [1 - outside, outside], color=["tab:blue", "tab:red"]
    )
    parts.set_ylabel("share of a step")
    rows = measured["rows"][1:]
    bars = checkpoint.bar(["training stands still", "writing its bytes once"], [row["median_seconds"] for row in rows])
    checkpoint.bar_label(bars, fmt="%.2f s")
    checkpoint.set_ylabel(f"seconds, {measured['checkpoint_gb']:.2f} GB")
    figure.suptitle("What training adds to its arithmetic")


if __name__ == "__main__":
    main()
