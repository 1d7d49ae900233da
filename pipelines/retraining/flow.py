"""The retraining flow: resolve the data revision, see whether it was trained on already, run the workflow if not."""

from pathlib import Path

from prefect import flow, task

from eve_core.config import RunConfig, load_config


@task
def data_revision(config: RunConfig) -> str:
    """The commit that the config's data revision stands for now."""
    from eve_core.data.versioning import resolve_revision

    return resolve_revision(config.data).commit


@task
def trained_before(config: RunConfig, commit: str) -> str | None:
    """Key of a finished run of the same config on the same data; None when there is none."""
    from eve_core.registry.tracking import find_finished_run

    return find_finished_run(config.registry, config_digest=config.digest(), data_revision=commit)


@task
def run_workflow(config: RunConfig) -> str:
    """Run the training pipeline here; its key.

    Raises:
        UserError: a step failed; the message has its reason.
    """
    import sys

    from rich.console import Console

    from eve_core.errors import UserError
    from pipelines.eve_training.display import Display
    from pipelines.eve_training.local import run_locally

    finished = run_locally(config, Display(Console(file=sys.stdout)))
    if finished.failure is not None:
        raise UserError(finished.failure)
    return finished.key


@flow(name="eve-retraining")
def retrain(config_path: Path) -> str:
    """One retraining: at most one finished run for a config and a data revision.

    Args:
        config_path: the run's YAML file.

    Returns:
        What was done, in words.
    """
    config = load_config(config_path)
    commit = data_revision(config)
    earlier = trained_before(config, commit)
    if earlier is not None:
        return f"nothing to do: {earlier} trained on data revision {commit[:12]}"
    return f"{run_workflow(config)} trained on data revision {commit[:12]}"
