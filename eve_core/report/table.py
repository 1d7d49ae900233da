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
    from rich.table import Table

    summary = collect(config.registry, key)
    page = folder / "report.html"
    write_page(summary, config.registry, page)
    table = Table(title=key, title_justify="left")
    for column in ("task", "metric", "value", "threshold", "champion before", "champion after", "verdict"):
        table.add_column(column, overflow="fold")
    for name in config.tasks:
        task = summary.tasks.get(name, TaskSummary(name))
        first = True
        for metric, value, threshold in _floors(task, config.tasks[name].gate.floors):
            if first:
                table.add_row(
                    name, metric, value, threshold, task.champion_before or "none", _after(task), _verdict(task)
                )
            else:
                table.add_row("", metric, value, threshold, "", "", "")
            first = False
    console.print(table)
    console.print(f"report  {page}", soft_wrap=True, highlight=False)
    console.print(
        f"models  mlflow ui --backend-store-uri {config.registry.tracking_uri}", soft_wrap=True, highlight=False
    )
    return summary


def _floors(task: TaskSummary, floors: list[Any]) -> list[tuple[str, str, str]]:
    metrics = (task.blessing or {}).get("metrics", {})
    return [
        (floor.metric, _number(metrics[floor.metric]) if floor.metric in metrics else "", _number(floor.at_least))
        for floor in floors
    ]


def _after(task: TaskSummary) -> str:
    if task.champion_after is None:
        return "none"
    return f"{task.champion_after} (promoted)" if task.changed else task.champion_after


def _verdict(task: TaskSummary) -> str:
    if task.blessing is None:
        return "not judged"
    if not task.blessing["blessed"]:
        return "refused: " + "; ".join(task.blessing["reasons"])
    return "blessed" if task.changed else "blessed, nothing to promote"


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"
