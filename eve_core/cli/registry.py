"""`eve champion show|history|diff|verify`, `eve promote`, `eve rollback` and `eve check-serving`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eve_core.registry.promotion import Promotion

champion_app = typer.Typer(help="The version of each task that is in use, and how it came to be.", no_args_is_help=True)

_Config = Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")]


@champion_app.command()
def show(config: _Config) -> None:
    """Show the champion of every task of the run."""
    from eve_core.config.run import load_config
    from eve_core.registry.promotion import champion, history

    run = load_config(config)
    for task in run.tasks:
        best = champion(run.registry, task)
        if best is None:
            typer.echo(f"{task}: no champion")
            continue
        entries = [entry for entry in history(run.registry, task) if entry.to_version == best.version]
        since, why = (
            (f", since {_minute(entries[-1].at)}", entries[-1].reason) if entries else ("", "set by hand in MLflow")
        )
        typer.echo(f"{task}: version {best.version}{since}\n  {why}")
        known = {name: value for name, value in best.metrics.items() if value is not None}
        width = max(map(len, known), default=0)
        for name, value in known.items():
            typer.echo(f"  {name:<{width}}  {value:.4g}")


@champion_app.command(name="history")
def show_history(config: _Config) -> None:
    """Show every promotion and rollback of every task of the run, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config.run import load_config
    from eve_core.registry.promotion import history

    run = load_config(config)
    table = Table("task", "what", "from", "to", "at", "by", "why")
    for task in run.tasks:
        for entry in history(run.registry, task):
            old = entry.from_version or "none"
            table.add_row(task, entry.kind, old, entry.to_version, _minute(entry.at), entry.by, entry.reason)
    Console().print(table)


def promote(
    task: Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")],
    version: Annotated[str, typer.Argument(help="Number of the registered version.")],
    config: _Config,
    reason: Annotated[str, typer.Option(help="Kept in the promotion log.")],
) -> None:
    """Check that a registered version serves, and make it champion."""
    from eve_core.config.run import load_config
    from eve_core.registry.promotion import promote as promote_version

    outcome = promote_version(load_config(config).registry, task=task, version=version, reason=reason)
    _tell(outcome)


def rollback(
    task: Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")],
    config: _Config,
    reason: Annotated[str, typer.Option(help="Kept in the promotion log.")],
    to: Annotated[str | None, typer.Option(help="Number of the version; the champion before when left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even to a version that never was champion.")] = False,
) -> None:
    """Go back to a version that was champion before."""
    from eve_core.config.run import load_config
    from eve_core.registry.promotion import rollback as roll_back

    outcome = roll_back(load_config(config).registry, task=task, to=to, reason=reason, force=force)
    _tell(outcome)
    if to is None and not outcome.changed:
        typer.echo(
            "it was rolled back to before; to go to another version, name it with --to (see eve champion history)"
        )


def check_serving(
    task: Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")],
    version: Annotated[str, typer.Argument(help="Number of the registered version.")],
    config: _Config,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="In a new environment of its pinned requirements, whatever is here.")
    ] = False,
) -> None:
    """Load a registered version in a process of its own and compare its answers with those of its evaluation."""
    from eve_core.config.run import load_config
    from eve_core.registry.serving_check import check_serving as check
    from eve_core.registry.tracking import open_experiment
    from eve_core.registry.versions import registered_version, stored_blessing

    registry = load_config(config).registry
    candidate = registered_version(registry, task, version)
    served = check(registry, candidate, stored_blessing(open_experiment(registry), candidate), fresh=fresh)
    typer.echo(
        f"{candidate.name} version {version} gives the {len(served.answers)} answers of its evaluation; 95 of 100 take "
        f"up to {served.latency_ms:.4g} ms, in {served.memory_mb:,.0f} MB"
    )


@champion_app.command()
def verify(config: _Config) -> None:
    """Rebuild every champion from the promotion log, and say what in the registry contradicts it."""
    from eve_core.config.run import load_config
    from eve_core.registry.promotion import history
    from eve_core.registry.promotion import verify as verify_log

    run = load_config(config)
    wrong = False
    for task in run.tasks:
        problems = verify_log(run.registry, task)
        wrong = wrong or bool(problems)
        entries = len(history(run.registry, task))
        typer.echo("\n".join(problems) or f"{task}: {entries} entries, and the registry is as they say")
    raise typer.Exit(int(wrong))


@champion_app.command()
def diff(
    task: Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")],
    config: _Config,
    version: Annotated[str | None, typer.Argument(help="The other version; the champion before when left out.")] = None,
) -> None:
    """Show what distinguishes the champion from another version."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config.run import load_config
    from eve_core.registry.promotion import compare_with_champion

    ours, theirs = compare_with_champion(load_config(config).registry, task, version)
    table = Table(task, f"champion {ours.version}", f"version {theirs.version}", "difference")
    for name in dict.fromkeys([*ours.metrics, *theirs.metrics]):
        one, other = ours.metrics.get(name), theirs.metrics.get(name)
        gain = f"{one - other:+.4g}" if one is not None and other is not None else ""
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in (one, other)), gain)
    for name in ("data_revision", "data_digest", "git_revision", "model_digest", "blessing_digest", "pipeline_run"):
        both = [getattr(version, name) for version in (ours, theirs)]
        table.add_row(name.replace("_", " "), *(text[:24] for text in both), "" if len({*both}) == 1 else "differs")
    Console().print(table)


def _tell(outcome: "Promotion") -> None:
    if outcome.changed:
        before = outcome.previous or "none"
        typer.echo(f"{outcome.task}: version {outcome.champion} is champion, before it {before}")
    else:
        typer.echo(f"{outcome.task}: version {outcome.champion} is champion already; nothing changed")


def _minute(at: str) -> str:
    return at[:16].replace("T", " ") + " UTC"
