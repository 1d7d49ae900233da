"""Two processes on two cores against one process on two threads, and so on: pre-training end to end."""

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.results import Line, parser, publish
from benchmarks.samples import COCO_SAMPLE, draw_photographs, prepare_photographs
from benchmarks.training import pretraining_job
from eve_core.config import LaunchConfig
from eve_core.training import launch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATIO_TARGET = 0.9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.set_defaults(device="cpu", rounds=2)
    command.add_argument("--size", choices=("tiny", "base", "large"), default="tiny", help="of the network (tiny)")
    command.add_argument("--batch", type=int, default=32, help="pairs a step (32)")
    command.add_argument("--steps", type=int, help="steps of a turn (40)")
    options = command.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    steps = options.steps or (6 if options.quick else 40)
    rates: dict[int, list[float]] = {1: [], cores: []}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = COCO_SAMPLE.is_dir() and not options.quick
        coco = COCO_SAMPLE if real else draw_photographs(folder / "coco", max(16, options.batch))
        prepared = prepare_photographs(coco, folder / "prepared")
        for turn in range(options.rounds):
            for processes, measured in rates.items():
                run = folder / f"{turn}-{processes}"
                job = pretraining_job(prepared, run, options.size, options.batch, steps, steps)
                launch(job, LaunchConfig(processes=processes), None)
                entries = [json.loads(line) for line in (Path(job.out) / "training_log.jsonl").read_text().splitlines()]
                measured.append(statistics.median(entry["examples_per_second"] for entry in entries[1:]))

    best = {processes: max(measured) for processes, measured in rates.items()}
    rows: list[dict[str, Any]] = [
        {"processes": processes, "threads": cores // processes, "pairs_per_second": best[processes], "all": measured}
        for processes, measured in rates.items()
    ]
    ratio = best[cores] / best[1]
    lines = [Line(f"{row['processes']} x {row['threads']} threads: pairs/s", row["pairs_per_second"]) for row in rows]
    lines.append(Line(f"{cores} processes to one", ratio, "{:.2f} x", RATIO_TARGET))
    settings = {"size": options.size, "batch": options.batch, "steps": steps, "cores": cores}
    publish("processes", options, settings, {"rows": rows, "ratio": ratio}, lines, _draw)


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axis = figure.subplots()
    rows = measured["rows"]
    names = [f"{row['processes']} processes,\n{row['threads']} threads each" for row in rows]
    axis.bar_label(axis.bar(names, [row["pairs_per_second"] for row in rows]), fmt="%.1f")
    axis.axhline(RATIO_TARGET * rows[0]["pairs_per_second"], color="black", label=f"{RATIO_TARGET} of one process")
    axis.set_ylabel("pairs/s")
    axis.legend(loc="lower right")
    figure.suptitle("Pre-training in one process and in several")


if __name__ == "__main__":
    main()
