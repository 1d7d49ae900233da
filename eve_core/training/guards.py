"""What must not go unnoticed: numbers that are not finite, a spreading loss, dead experts, processes that differ."""

import json
import os
import statistics
import warnings
from collections import deque
from pathlib import Path
from typing import Any, Literal

import torch
from torch import distributed

from eve_core.errors import UserError
from eve_core.whole_file import write_whole

_SPIKE = 1.5
_REMEMBERED = 10


def refuse_missing_gpus(processes: int | Literal["gpus"]) -> None:
    """Compare the GPUs that there are with what the recipe takes them for: no GPU would be a run on the processor.

    Args:
        processes: of the recipe on a machine; torchrun says how many that is.

    Raises:
        UserError: one process a GPU is asked for and none works, or there are more processes than GPUs.
    """
    here, asked = torch.cuda.is_available() * torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if processes == "gpus" and not here:
        raise UserError(
            "launch.processes asks for one process a GPU, but this machine has no GPU that PyTorch can use; run it on "
            "one that has (on a cluster: check launch.trainjob.gpus_per_node and the image's CUDA), or name a number "
            "of processes"
        )
    if here and asked > here:
        raise UserError(
            f"launch.processes has {asked} processes train on a machine of {here} GPUs; set it to gpus, or to {here} "
            "at most"
        )


def write_not_finite(folder: Path, step: int, numbers: dict[str, float], examples: list[dict[str, Any]]) -> UserError:
    """Keep what led to a loss or gradient that is not finite, and say so.

    Args:
        folder: where the file is written.
        step: the step that was not taken.
        numbers: losses, gradient norm, learning rate.
        examples: of the step's batch.

    Returns:
        What to raise.
    """
    path = folder / f"not_finite_at_step_{step}.json"
    # All processes come here at once, with losses of their own.
    text = json.dumps({"step": step, "numbers": numbers, "examples": examples}, indent=2) + "\n"
    write_whole(text, path, "what was not finite")
    said = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return UserError(
        f"step {step} was not taken, because loss or gradient is not finite ({said}); its examples are in {path}; "
        "lower the learning rate, or use precision float32"
    )


def refuse_different_processes(run: dict[str, Any]) -> None:
    """Compare what the processes are about to do.

    Raises:
        UserError: one of them was started with other settings or data than the first.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    runs: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(runs, run)
    for rank, other in enumerate(runs):
        different = [name for name in {**runs[0], **other} if runs[0].get(name) != other.get(name)]
        if different:
            name = different[0]
            raise UserError(
                f"process {rank} was started with {name} {other.get(name)!r} but process 0 with {runs[0].get(name)!r}; "
                "start all processes with the same config, code and data"
            )


class Warner:
    """Watches the log for a loss that jumps and for experts that no token chooses any more."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=_REMEMBERED)
        self._dead: set[tuple[str, int]] = set()

    def look_at(self, entry: dict[str, Any], step: int) -> None:
        """Warn if this entry of the log gives cause."""
        usual = statistics.median(self._losses) if len(self._losses) == _REMEMBERED else float("inf")
        if entry["loss"] > _SPIKE * usual:
            warnings.warn(
                f"the loss rose to {entry['loss']:.4g} at step {step}, from {usual:.4g} before; if it does not come "
                "down by itself, go back to an earlier checkpoint with a lower learning rate",
                stacklevel=2,
            )
        self._losses.append(entry["loss"])
        dead = set()
        for name in [name for name in entry if name.endswith("/vision_load")]:
            block = name.removesuffix("/vision_load")
            loads = zip(entry[name], entry[f"{block}/text_load"], strict=True)
            dead |= {(block, expert) for expert, load in enumerate(loads) if sum(load) == 0}
        for block in sorted({block for block, _ in dead - self._dead}):
            experts = ", ".join(str(expert) for name, expert in sorted(dead) if name == block)
            warnings.warn(
                f"no token chose experts {experts} of {block} up to step {step} since the log's last entry; if they "
                "stay dead, raise load_balance_weight",
                stacklevel=2,
            )
        self._dead = dead
