"""The closing table at the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config import RunConfig
from eve_core.report.collect import RunSummary, TaskSummary, collect
from eve_core.report.page import write_page

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(config: RunConfig, key: str, folder: Path, console: "Console") -> RunSummary:
    """Print what a run came to, and write its report page into `folder`.

    Args:
        config: the run.
        key: its key.
        folder: its folder in the workspace.
        console: where to print.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    summary = collect(config.registry, key)
    page = folder / "report.html"
    write_page(summary, config, page)
    table = Table(title=key, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("floor", justify="right")
    table.add_column("champion", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    refusals = []
    for name in config.tasks:
        task = summary.tasks.get(name, TaskSummary(name))
        if task.blessing is not None and not task.blessing["blessed"]:
            refusals.append(f"{name} was refused: {'; '.join(task.blessing['reasons'])}")
        shown: tuple[str, str, str] = (
            name,
            f"{task.champion_before or 'none'} -> {task.champion_after or 'none'}",
            _verdict(task),
        )
        for metric, value, threshold in _floors(task, config.tasks[name].gate.floors):
            table.add_row(shown[0], metric, value, threshold, shown[1], shown[2])
            shown = "", "", ""
    console.print(table)
    for line in refusals:
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f"report  {page}", soft_wrap=True, highlight=False)
    models = f"mlflow ui --backend-store-uri {config.registry.tracking_uri}"
    console.print(f"models  {models}", soft_wrap=True, highlight=False)
    return summary


def _floors(task: TaskSummary, floors: list[Any]) -> list[tuple[str, str, str]]:
    metrics = (task.blessing or {}).get("metrics", {})
    return [
        (floor.metric, _number(metrics[floor.metric]) if floor.metric in metrics else "", _number(floor.at_least))
        for floor in floors
    ]


def _verdict(task: TaskSummary) -> str:
    if task.blessing is None:
        return "not judged"
    if not task.blessing["blessed"]:
        return "refused"
    return f"blessed, {task.awaits_approval} waits for approval" if task.awaits_approval else "blessed"


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"
