"""`eve run`, `eve check`, `eve compile`: the training pipeline."""

import sys
from pathlib import Path
from typing import Annotated

import typer

_Config = Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")]


def run(config: _Config) -> None:
    """Run the whole workflow on this machine; finished steps of earlier runs are reused."""
    from rich.console import Console

    from eve_core.config import load_config
    from eve_core.report.table import print_summary
    from pipelines.eve_training.display import Display
    from pipelines.eve_training.local import run_locally

    console = Console(file=sys.stdout)  # this one, whatever becomes of sys.stdout while the pipeline runs
    settings = load_config(config)
    finished = run_locally(settings, Display(console))
    print_summary(settings, finished.key, finished.folder, console)
    if finished.failure is not None:
        typer.echo(f"error: {finished.failure}", err=True)
        typer.echo(f"The steps' output is in {finished.folder}", err=True)
        raise typer.Exit(1)


def retrain(config: _Config) -> None:
    """Run the workflow if the data revision is new to this config; as a Prefect flow."""
    from pipelines.retraining.flow import retrain as retrain_flow

    typer.echo(retrain_flow(config))


def check(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[CONFIG]...", help="Config files; all of configs/ when none is given."),
    ] = None,
) -> None:
    """Import and compile the pipeline and validate configs against it; offline, in seconds."""
    import tempfile

    from eve_core.errors import UserError
    from pipelines.eve_training.check import check_config, compile_pipeline

    paths = configs or sorted(Path("configs").glob("*.yaml"))
    if not paths:
        raise UserError("there is no configs/*.yaml here; name the config files to check")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = compile_pipeline(Path(folder) / "eve-training.yaml")
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
) -> None:
    """Compile the pipeline to KFP's IR YAML."""
    from pipelines.eve_training.check import compile_pipeline

    compile_pipeline(out)
    typer.echo(f"wrote {out}")
