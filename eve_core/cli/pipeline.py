"""The training pipeline here (`eve run`, `check`, `plan`) and on a cluster (`compile`, `submit`, `status`, ...)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

_Config = Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")]


def run(
    config: _Config,
    runner: Annotated[
        str, typer.Option(help="What steps are: subprocess, or docker for containers of the project's images.")
    ] = "subprocess",
) -> None:
    """Run the whole workflow on this machine; finished steps of earlier runs are reused."""
    from rich.console import Console

    from eve_core.config import load_config
    from eve_core.errors import UserError
    from eve_core.report.table import print_summary
    from pipelines.eve_training.display import Display
    from pipelines.eve_training.local import run_locally

    if runner not in ("subprocess", "docker"):
        raise UserError(f"there is no runner {runner}; choose subprocess or docker")
    console = Console(file=sys.stdout)  # this one, whatever becomes of sys.stdout while the pipeline runs
    settings = load_config(config)
    finished = run_locally(settings, Display(console), runner)  # type: ignore[arg-type]
    print_summary(settings, finished.key, finished.folder, console)
    if finished.failure is not None:
        typer.echo(f"error: {finished.failure}", err=True)
        typer.echo(f"The steps' output is in {finished.folder}", err=True)
        raise typer.Exit(1)


def check(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[CONFIG]...", help="Config files; all of configs/ when none is given."),
    ] = None,
) -> None:
    """Import and compile the pipeline and validate configs against it; offline, in seconds."""
    import tempfile

    from eve_core.errors import UserError
    from pipelines.eve_training.check import check_config, check_pipeline, check_registry_calls, compile_pipeline

    paths = configs or sorted(Path("configs").glob("*.yaml"))
    if not paths:
        raise UserError("there is no configs/*.yaml here; name the config files to check")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = compile_pipeline(Path(folder) / "eve-training.yaml")
    check_pipeline(pipeline)
    check_registry_calls()
    problems = []
    for path in paths:
        try:
            check_config(path, pipeline)
            typer.echo(f"{path}: good")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))


def plan(config: _Config) -> None:
    """What the run will take: parameters, memory, work, hours and cost, before anything starts."""
    from rich import print as show_rich

    from eve_core.config import load_config
    from eve_core.training.planning import count_examples, describe_plan, plan_run, too_large

    run = load_config(config)
    counts, source = count_examples(run)
    plans = plan_run(run, counts)
    show_rich(describe_plan(plans, run.pool))
    typer.echo(f"Examples are counted in {source}; memory is an estimate, hours are at the pool's expected_mfu.")
    for said in too_large(plans, run.pool):
        typer.echo(f"warning: {said}", err=True)


def compile_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="The IR YAML file to write.")] = Path(
        "build/eve-training.yaml"
    ),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A run whose cluster the steps ask for nodes and secrets.")
    ] = None,
    minimal: Annotated[
        bool, typer.Option("--minimal", help="With the config's settings in it, and few parameters.")
    ] = False,
) -> None:
    """Compile the pipeline to KFP's IR YAML."""
    from eve_core.config import load_config
    from pipelines.eve_training.check import compile_pipeline

    compile_pipeline(out, load_config(config) if config else None, minimal=minimal)
    typer.echo(f"wrote {out}")


def submit(
    config: _Config,
    cron: Annotated[
        str | None,
        typer.Option(help="Let Kubeflow start it at certain times instead: six fields, from seconds to weekday."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Although the same run has succeeded.")] = False,
) -> None:
    """Start the pipeline on Kubeflow; the same config, code and data revision only once."""
    from eve_core.config import load_config
    from pipelines.eve_training import kubeflow

    run_config = load_config(config)
    if cron is not None:
        new = kubeflow.repeat(run_config, cron)
        typer.echo(f"{run_config.name} is started by Kubeflow at {cron!r}{'' if new else ', as before'}")
        return
    submitted = kubeflow.submit(run_config, again=again)
    told = "submitted" if submitted.new else "was submitted before"
    typer.echo(f"{submitted.name} {told}: {submitted.run_id}\n{submitted.url}")


def status(config: _Config, run_id: Annotated[str, typer.Argument(help="Kubeflow's id of the run.")]) -> None:
    """How a run on Kubeflow is, step by step."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config import load_config
    from pipelines.eve_training import kubeflow

    state = kubeflow.status(load_config(config), run_id)
    table = Table("step", "state", "seconds", "", box=None, padding=(0, 2, 0, 0))
    for step in state.steps:
        table.add_row(step.name, step.state, "" if step.seconds is None else f"{step.seconds:,.0f}", step.error)
    console = Console()
    console.print(f"{state.name}: {state.state}{' ' if state.error else ''}{state.error}")
    console.print(table)
    if state.state == kubeflow.FAILED:
        raise typer.Exit(1)


def terminate(config: _Config, run_id: Annotated[str, typer.Argument(help="Kubeflow's id of the run.")]) -> None:
    """Stop a run on Kubeflow; submitted again, it goes on from its finished steps and checkpoints."""
    from eve_core.config import load_config
    from pipelines.eve_training import kubeflow

    stopped = kubeflow.terminate(load_config(config), run_id)
    typer.echo(f"{run_id} {'is told to stop' if stopped else 'has ended already'}")


def logs(
    config: _Config,
    run_id: Annotated[str, typer.Argument(help="Kubeflow's id of the run.")],
    step: Annotated[str | None, typer.Argument(help="A step; those that failed when left out.")] = None,
) -> None:
    """What the pods of a run on Kubeflow wrote."""
    from eve_core.config import load_config
    from pipelines.eve_training import kubeflow

    for name, text in kubeflow.logs(load_config(config), run_id, step):
        typer.echo(f"--- {name}\n{text}")
