"""The pre-training step of the task sets of the paper's Table 1: time a pair, and the largest batch in equal memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.measure import DTYPES, follow, peak_memory, take_turns
from benchmarks.pretraining_step import MAX_TEXT_LENGTH, build, draw_batch, step
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.errors import UserError
from eve_core.model import EveConfig, EveForPreTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TaskSet:
    """A row of the paper's Table 1."""

    tasks: tuple[str, ...]
    """Values of `pretraining_tasks`."""
    paper_batch: int
    """Largest batch on one A100."""
    paper_hours: float
    """Hours an epoch on eight A100."""
    mask_tokens_in_encoder: bool = False
    """Whether masked patches go through the encoder."""


OURS, INSIDE, FULL = "MLM + MIM", "MLM + MIM, masks inside", "MLM + ITC + ITM + MIM"
TASK_SETS = {
    OURS: TaskSet(("mlm", "mim"), 224, 2.14),
    INSIDE: TaskSet(("mlm", "mim"), 152, 3.09, mask_tokens_in_encoder=True),
    "MLM + ITC + MIM": TaskSet(("mlm", "itc", "mim"), 132, 3.26),
    "MLM + ITC + ITM": TaskSet(("mlm", "itc", "itm"), 80, 6.88),
    FULL: TaskSet(("mlm", "itc", "itm", "mim"), 64, 7.73),
}
SPEED_TARGET = 3.6
# The default budget is what MLM + MIM needs at this batch.
BUDGET_BATCH = 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--size", choices=("tiny", "base", "large"), help="of the network (base; tiny with --quick)")
    command.add_argument("--batch", type=int, help="pairs a step (4 on a processor, 64 on CUDA)")
    command.add_argument("--dtype", choices=tuple(DTYPES), default="bfloat16", help="bfloat16 (autocast) or float32")
    command.add_argument(
        "--memory-batches",
        type=int,
        nargs=2,
        metavar=("SMALL", "LARGE"),
        help="batches whose memory is measured (2 and 6 on a processor, 16 and 48 on CUDA)",
    )
    command.add_argument(
        "--budget", type=float, help=f"GB for the largest batch (what {OURS} needs at batch {BUDGET_BATCH})"
    )
    options = command.parse_args(arguments)
    device = chosen_device(options)
    size = options.size or ("tiny" if options.quick else "base")
    batch = options.batch or (4 if options.quick or device.type == "cpu" else 64)
    pair = options.memory_batches or ((2, 8) if options.quick else (2, 6) if device.type == "cpu" else (16, 48))

    memory = {
        name: [peak_memory(_run, name, size, number, options.dtype, device.type, device=device) for number in pair]
        for name in follow([*TASK_SETS], "pre-training tasks, memory")
    }
    lines_through = {name: _line(pair, values) for name, values in memory.items()}
    fixed, slope = lines_through[OURS]
    budget = fixed + slope * BUDGET_BATCH if options.budget is None else options.budget * 1e9
    if budget <= fixed + slope:
        needed = (fixed + slope) / 1e9
        raise UserError(f"--budget {options.budget} GB holds no pair of {OURS}; give more than {needed:.1f}")
    contestants = _contestants(size, batch, options.dtype, device)
    timings = take_turns(contestants, device, rounds=options.rounds, description="pre-training tasks")

    rows = []
    for name, task_set in TASK_SETS.items():
        whole, ours = timings[f"{name} step"], timings[f"{OURS} step"]
        without, ours_without = timings[f"{name} gradients"], timings[f"{OURS} gradients"]
        fixed, slope = lines_through[name]
        rows.append(
            {
                "tasks": name,
                **whole.summary,
                "pairs_per_second": batch / whole.best,
                "time_ratio": whole.best / ours.best,
                "time_ratio_of_medians": whole.median / ours.median,
                "time_ratio_without_update": without.best / ours_without.best,
                "paper_time_ratio": task_set.paper_hours / TASK_SETS[OURS].paper_hours,
                "fixed_memory_gb": fixed / 1e9,
                "memory_gb_per_pair": slope / 1e9,
                "largest_batch": max(0, math.floor((budget - fixed) / slope + 1e-6)),
                "paper_largest_batch": task_set.paper_batch,
            }
        )
    settings = {
        "size": size,
        "image_size": EveConfig.named(size).image_size,
        "text_length": MAX_TEXT_LENGTH,
        "dtype": options.dtype,
        "batch": batch,
        "memory_batches": [*pair],
        "memory_budget_gb": budget / 1e9,
    }
    publish("pretraining_tasks", options, settings, {"rows": rows}, _lines(rows), _draw, reference="paper, A100")


def _config(name: str, size: str) -> EveConfig:
    task_set = TASK_SETS[name]
    return EveConfig.named(
        size, pretraining_tasks=[*task_set.tasks], mask_tokens_in_encoder=task_set.mask_tokens_in_encoder
    )


def _contestants(size: str, batch: int, dtype: str, device: torch.device) -> dict[str, Any]:
    """Of every task set the whole step, and the step without the update.

    The sets share one encoder, one head of each kind and one optimizer, so that they fit into memory side by side and
    can take turns; a parameter without a gradient costs the update nothing.
    """
    models: dict[str, EveForPreTraining] = {}
    shared: dict[tuple[str, type], nn.Module] = {}
    # These two come first: their parts have a parameter that the others' lack.
    for name in (INSIDE, FULL, *(name for name in TASK_SETS if name not in (INSIDE, FULL))):
        models[name] = build(_config(name, size), device)
        for part, module in [*models[name].named_children()]:
            setattr(models[name], part, shared.setdefault((part, type(module)), module))
    parameters = {id(weight): weight for model in models.values() for weight in model.parameters()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-5, fused=True)
    contestants: dict[str, Any] = {}
    for name in TASK_SETS:
        model = models[name]
        pairs = draw_batch(model.config, [MAX_TEXT_LENGTH] * batch, device)
        contestants[f"{name} step"] = partial(step, model, pairs, dtype, optimizer)
        contestants[f"{name} gradients"] = partial(step, model, pairs, dtype)
    return contestants


def _run(name: str, size: str, batch: int, dtype: str, device_name: str) -> None:
    device = torch.device(device_name)
    model = build(_config(name, size), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    pairs = draw_batch(model.config, [MAX_TEXT_LENGTH] * batch, device)
    for _ in range(2):
        # Gradients that come and go would hide small batches behind the update's peak and bend the line.
        step(model, pairs, dtype, optimizer, keep_gradients=True)


def _line(batches: Sequence[int], memory: Sequence[int]) -> tuple[float, float]:
    """Bytes at batch 0 and bytes a pair."""
    slope = (memory[1] - memory[0]) / (batches[1] - batches[0])
    return memory[0] - slope * batches[0], slope


def _lines(rows: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for row in rows:
        name = row["tasks"]
        lines.append(Line(f"{name}: pairs/s", row["pairs_per_second"]))
        if name != OURS:
            target = SPEED_TARGET if name == FULL else None
            what = f"{name}: time a pair to {OURS}"
            lines.append(Line(what, row["time_ratio"], "{:.2f} x", target, reference=row["paper_time_ratio"]))
            lines.append(Line(f"{what}, no update", row["time_ratio_without_update"], "{:.2f} x"))
        what = f"{name}: largest batch in equal memory"
        lines.append(Line(what, row["largest_batch"], "{:.0f}", reference=row["paper_largest_batch"]))
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    rows = measured["rows"]
    names = [row["tasks"] for row in rows]
    places = range(len(rows))
    speed, memory = figure.subplots(1, 2, sharey=True)
    panels = (
        (speed, [row["time_ratio"] for row in rows], [row["paper_time_ratio"] for row in rows]),
        (
            memory,
            [row["largest_batch"] / rows[0]["largest_batch"] for row in rows],
            [row["paper_largest_batch"] / rows[0]["paper_largest_batch"] for row in rows],
        ),
    )
    for axes, ours, paper in panels:
        axes.barh([place - 0.2 for place in places], ours, 0.4, color="tab:blue", label="measured")
        axes.barh([place + 0.2 for place in places], paper, 0.4, color="lightgrey", label="paper, A100")
    speed.set_yticks([*places], names)
    speed.invert_yaxis()
    speed.axvline(SPEED_TARGET, color="black", linewidth=0.8)
    speed.set_xlabel(f"time a pair, {OURS} = 1")
    memory.set_xlabel(f"largest batch in equal memory, {OURS} = 1")
    speed.legend()
    figure.suptitle("Pre-training step by tasks")


if __name__ == "__main__":
    main()
