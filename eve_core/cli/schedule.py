"""`eve retrain`, `eve schedule`: runs that start by themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.retraining.schedule import Deployed

schedule_app = typer.Typer(help="Retraining by itself, as Prefect deployments.", no_args_is_help=True)

_Config = Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")]
_Name = Annotated[str, typer.Argument(help="Name of the config.")]
_Insist = Annotated[bool, typer.Option("--insist", help="Run it, whatever was done before.")]


def retrain(config: _Config, insist: _Insist = False) -> None:
    """Run the workflow if it is due; as a Prefect flow."""
    from pipelines.retraining.flow import retrain as retrain_flow

    typer.echo(retrain_flow(config, insist))


@schedule_app.command()
def apply(config: _Config) -> None:
    """Schedule a config as its section schedule says, in place of how it was scheduled before."""
    from pipelines.retraining.schedule import apply as apply_schedule

    _tell(apply_schedule(config))


@schedule_app.command(name="list")
def show() -> None:
    """What is scheduled, when it looks next, and what waits for approval."""
    from pipelines.retraining.schedule import show as show_deployed

    for deployed in show_deployed():
        _tell(deployed)


@schedule_app.command()
def pause(name: _Name, resume: Annotated[bool, typer.Option("--resume", help="Go on.")] = False) -> None:
    """Stop looking whether runs are due."""
    from pipelines.retraining.schedule import pause as pause_deployment

    _tell(pause_deployment(name, paused=not resume))


@schedule_app.command(name="run-now")
def run_now(name: _Name, insist: _Insist = False) -> None:
    """Look right now; a worker has to be running (prefect worker start --pool eve)."""
    from pipelines.retraining.schedule import run_now as run_deployment

    typer.echo(f"{name}: run {run_deployment(name, insist=insist)} is handed to a worker")


@schedule_app.command()
def answer(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Kept in the promotion log.")],
    refuse: Annotated[bool, typer.Option("--refuse", help="It may not become champion.")] = False,
) -> None:
    """Approve of the models that wait for it, or refuse them; ends when that is done."""
    from pipelines.retraining.schedule import answer as answer_run

    typer.echo(answer_run(name, approve=not refuse, reason=reason))


def _tell(deployed: "Deployed") -> None:
    when = f"next {deployed.next:%Y-%m-%d %H:%M %Z}" if deployed.next else "not planned"
    times = (
        "paused" if deployed.paused else f"looks at {deployed.cron!r}, {when}" if deployed.cron else "looks when asked"
    )
    waits = f"; waits for approval: {', '.join(deployed.waiting)}" if deployed.waiting else ""
    typer.echo(f"{deployed.name}: {times}; last {deployed.last}{waits}")
