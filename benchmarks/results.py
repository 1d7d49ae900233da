"""What a benchmark leaves: a JSON file, a plot beside it, and a table at the terminal."""

import json
import os
import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOLDER = Path(__file__).parent / "results"
# Quick results mean nothing and must not replace measurements.
_QUICK_FOLDER = Path(__file__).parents[1] / ".eve" / "benchmarks"
_LOAD_BEFORE = round(os.getloadavg()[0], 2)


@dataclass(frozen=True)
class Line:
    """A line of the closing table: something measured, and what it is held against."""

    what: str
    """In words."""
    measured: float
    """The number."""
    form: str = "{:.2f}"
    """How to print it, such as "{:.0%}"."""
    target: float | None = None
    """What it should come to."""
    at_most: bool = False
    """Whether the target is a limit from above; it is one from below otherwise."""
    reference: float | None = None
    """The same quantity elsewhere: the official code's, or the paper's."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        return self.measured <= self.target if self.at_most else self.measured >= self.target

    @property
    def demand(self) -> str:
        """The target in words; empty when there is none."""
        if self.target is None:
            return ""
        return f"at {'most' if self.at_most else 'least'} {self.form.format(self.target)}"


def parser(description: str) -> ArgumentParser:
    """A command line with the options that all benchmarks share."""
    options = ArgumentParser(description=description)
    options.add_argument("--device", choices=("cpu", "cuda"), help="cuda when there is one unless this says cpu")
    options.add_argument("--rounds", type=int, default=5, help="how many times each contestant takes its turn (5)")
    options.add_argument("--quick", action="store_true", help="tiny sizes, to see that the benchmark runs")
    options.add_argument("--out", type=Path, help="folder for JSON and plot (benchmarks/results)")
    return options


def chosen_device(options: Namespace) -> torch.device:
    """The device that the options name."""
    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def publish(
    name: str,
    options: Namespace,
    settings: dict[str, Any],
    measured: dict[str, Any],
    lines: Sequence[Line],
    draw: "Callable[[Figure, dict[str, Any]], None]",
    *,
    reference: str = "",
) -> None:
    """Write `<name>-<device>.json` and `.png`, and print the lines beside their targets.

    Args:
        name: of the benchmark.
        options: its command line.
        settings: sizes that the numbers depend on.
        measured: the numbers, as JSON can hold them.
        lines: of the closing table.
        draw: draws the measured numbers into a figure.
        reference: whose numbers the lines' references are; empty when they have none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    device = chosen_device(options)
    folder = options.out or (_QUICK_FOLDER if options.quick else _FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{device.type}.json"
    result = {
        "benchmark": name,
        "quick": options.quick,
        "machine": describe_machine(device),
        "settings": {"rounds": options.rounds, **settings},
        "lines": [
            {**{key: value for key, value in asdict(line).items() if key != "form"}, "met": line.met} for line in lines
        ],
        **measured,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, measured)
    figure.savefig(path.with_suffix(".png"), dpi=120)
    title = f"{name} (quick: these numbers mean nothing)" if options.quick else name
    console = Console()
    console.print(_table(title, lines, reference))
    console.print(f"{path} and {path.with_suffix('.png').name}", soft_wrap=True)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on, and when."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_average_before": _LOAD_BEFORE,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _table(title: str, lines: Sequence[Line], reference: str) -> Table:
    table = Table("", "measured", "target", *([reference] if reference else []), title=title)
    for line in lines:
        colour = {True: "green", False: "red", None: "default"}[line.met]
        cells = [line.what, f"[{colour}]{line.form.format(line.measured)}[/]", line.demand]
        if reference:
            cells.append("" if line.reference is None else line.form.format(line.reference))
        table.add_row(*cells)
    return table
