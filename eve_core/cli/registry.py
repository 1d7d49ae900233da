"""`eve champion show`, `eve champion history` and `eve promote`."""

from pathlib import Path
from typing import Annotated

import typer

champion_app = typer.Typer(help="The version of each task that is in use, and how it came to be.", no_args_is_help=True)

_Config = Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")]


@champion_app.command()
def show(config: _Config) -> None:
    """Show the champion of every task of the run."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config.run import load_config
    from eve_core.registry.promotion import champion, history

    run = load_config(config)
    table = Table("task", "version", "metrics", "since", "why")
    for task in run.tasks:
        best = champion(run.registry, task)
        if best is None:
            table.add_row(task, "none", "", "", "")
            continue
        metrics = "\n".join(f"{name} {value}" for name, value in best.metrics.items())
        entries = [entry for entry in history(run.registry, task) if entry.to_version == best.version]
        since, why = (_minute(entries[-1].at), entries[-1].reason) if entries else ("", "set by hand in MLflow")
        table.add_row(task, best.version, metrics, since, why)
    Console().print(table)


@champion_app.command(name="history")
def show_history(config: _Config) -> None:
    """Show every promotion of every task of the run, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config.run import load_config
    from eve_core.registry.promotion import history

    run = load_config(config)
    table = Table("task", "from", "to", "at", "by", "why")
    for task in run.tasks:
        for entry in history(run.registry, task):
            old = entry.from_version or "none"
            table.add_row(task, old, entry.to_version, _minute(entry.at), entry.by, entry.reason)
    Console().print(table)


def promote(
    task: Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")],
    version: Annotated[str, typer.Argument(help="Number of the registered version.")],
    config: _Config,
    reason: Annotated[str, typer.Option(help="Kept in the promotion log.")],
) -> None:
    """Make a registered version champion; a former champion may return."""
    from eve_core.config.run import load_config
    from eve_core.registry.promotion import promote as promote_version

    outcome = promote_version(load_config(config).registry, task=task, version=version, reason=reason)
    if outcome.changed:
        typer.echo(f"{task}: version {outcome.champion} is champion, before it {outcome.previous or 'none'}")
    else:
        typer.echo(f"{task}: version {outcome.champion} is champion already; nothing changed")


def _minute(at: str) -> str:
    return at[:16].replace("T", " ") + " UTC"
