"""Runs in MLflow: one parent run per pipeline run, one child run per step.

Steps are processes that may run side by side, and MLflow may be a SQLite file in the workspace. So everything that
looks first and creates afterwards holds the file lock beside that database; on a server the earliest of two wins.
"""

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config.run import RegistryConfig
from eve_core.errors import Preempted, UserError, explain, explain_os_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

PIPELINE_TAG = "eve.pipeline_run"
STEP_TAG = "eve.step"
INPUTS_TAG = "eve.inputs"
CHANGED_TAG = "eve.changed"
APPROVAL_TAG = "eve.awaits_approval"
FAILURE_TAG = "eve.failure"
CONFIG_DIGEST_TAG = "eve.config_digest"
DATA_REVISION_TAG = "eve.data_revision"
DATA_DIGEST_TAG = "eve.data_digest"
GIT_REVISION_TAG = "eve.git_revision"
_PARENT_TAG = "mlflow.parentRunId"
_NAME_TAG = "mlflow.runName"
# MLflow's own limit of one request.
_PARAMS_AT_ONCE = 100
_LONGEST_TAG = 5000


@dataclass(frozen=True)
class Tracking:
    """An open experiment."""

    client: "MlflowClient"
    """Talks to tracking and registry."""
    experiment_id: str
    """Where runs are created."""
    uri: str
    """Tracking URI with an absolute path."""


@dataclass(frozen=True)
class StepRun:
    """The MLflow run of one step, while its body runs."""

    tracking: Tracking
    """The experiment it is part of."""
    run_id: str
    """MLflow's id."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make MLflow in another process (torchrun, transformers' callback) log to this run."""
        return {
            "MLFLOW_TRACKING_URI": self.tracking.uri,
            "MLFLOW_EXPERIMENT_ID": self.tracking.experiment_id,
            "MLFLOW_RUN_ID": self.run_id,
        }

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record what the step was given; a name keeps its first value."""
        from mlflow.entities import Param

        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), _PARAMS_AT_ONCE):
            self.tracking.client.log_batch(self.run_id, params=entries[start : start + _PARAMS_AT_ONCE])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record what the step found; `step` places the values on a curve."""
        for name, value in metrics.items():
            self.tracking.client.log_metric(self.run_id, name, value, step=step)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the step."""
        for name, value in tags.items():
            self.tracking.client.set_tag(self.run_id, name, value)

    def log_artifact(self, path: Path | str) -> None:
        """Keep a copy of a file or a folder with the run."""
        if Path(path).is_dir():
            self.tracking.client.log_artifacts(self.run_id, str(path), Path(path).name)
        else:
            self.tracking.client.log_artifact(self.run_id, str(path))

    def log_page(self, path: Path | str, name: str) -> None:
        """Keep an HTML file as `name`.html, which MLflow shows as a page, whatever the file is called."""
        self.tracking.client.log_text(self.run_id, Path(path).read_text(encoding="utf-8"), f"{name}.html")


@contextlib.contextmanager
def step_run(
    config: RegistryConfig,
    run_key: str,
    step: str,
    *,
    data_revision: str | None = None,
    data_digest: str | None = None,
    git_revision: str | None = None,
    params: Mapping[str, object] | None = None,
) -> Iterator[StepRun]:
    """Log one step of a pipeline run while its body runs.

    The run ends FINISHED, FAILED when the body raises, KILLED when it is interrupted or told to stop. An earlier
    attempt at the same step that was cut off, and so still counts as running, is ended as KILLED.

    Args:
        config: the registry section.
        run_key: key of the pipeline run, as given to `pipeline_run`.
        step: the step's name, with its task where it runs for several ("finetune-vqa").
        data_revision: git commit that pins the data, kept as a tag.
        data_digest: digest of the data manifest, kept as a tag.
        git_revision: git commit of the code, kept as a tag.
        params: what the step was given.
    """
    parent = pipeline_run(config, run_key, run_key=run_key)
    tracking = open_experiment(config)
    known = {DATA_REVISION_TAG: data_revision, DATA_DIGEST_TAG: data_digest, GIT_REVISION_TAG: git_revision}
    _end_cut_off_attempts(tracking, parent, step)
    created = tracking.client.create_run(
        tracking.experiment_id,
        tags={_PARENT_TAG: parent, STEP_TAG: step, **{name: value for name, value in known.items() if value}},
        run_name=step,
    )
    run = StepRun(tracking, created.info.run_id)
    try:
        run.log_params(params or {})
        yield run
    except Exception as error:
        status = "KILLED" if isinstance(error, Preempted) else "FAILED"
        _end_unsuccessful(run, status, explain(error, step))
        raise
    except BaseException:
        _end_unsuccessful(run, "KILLED")
        raise
    tracking.client.set_terminated(run.run_id, "FINISHED")


def pipeline_run(config: RegistryConfig, name: str, *, run_key: str) -> str:
    """The MLflow run id of a whole pipeline run; its steps' processes all find the same one.

    Args:
        config: the registry section.
        name: shown in MLflow, used when the run is created.
        run_key: unique key of the pipeline run: letters, digits, dots, dashes and underscores.

    Raises:
        UserError: the key has other characters, or MLflow cannot be reached.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", run_key):
        raise UserError(f"run key {run_key!r} may have only letters, digits, dots, dashes and underscores; rename it")
    tracking = open_experiment(config)
    with exclusive(config):
        found = _find_pipeline_run(tracking, run_key)
        if found is None:
            tags = {PIPELINE_TAG: run_key}
            tracking.client.create_run(tracking.experiment_id, tags=tags, run_name=name)
            found = _find_pipeline_run(tracking, run_key)
        elif name != run_key and found.data.tags.get(_NAME_TAG) == run_key:
            # A step came first and knew only the key.
            tracking.client.set_tag(found.info.run_id, _NAME_TAG, name)
    assert found is not None
    return str(found.info.run_id)


def step_runs(config: RegistryConfig, run_key: str) -> list[Any]:
    """MLflow's runs of the steps of a pipeline run, in the order they began."""
    parent = parent_run(config, run_key)
    return list(
        parent.tracking.client.search_runs(
            [parent.tracking.experiment_id],
            f"tags.`{_PARENT_TAG}` = '{parent.run_id}'",
            order_by=["attributes.start_time ASC"],
        )
    )


def steps_cut_off(config: RegistryConfig, run_key: str) -> list[str]:
    """Steps of an ended pipeline run that another run may go on from: told to stop, or gone without a word.

    One that was gone, was tried again and was gone again, is not among them. That is no lost node, after which nobody
    tries again, but what always happens there, such as too little memory.
    """
    attempts: dict[str, list[Any]] = {}
    for run in step_runs(config, run_key):
        attempts.setdefault(run.data.tags.get(STEP_TAG, ""), []).append(run)
    found = []
    for step, runs in attempts.items():
        stopped = [run.info.status in ("RUNNING", "KILLED") for run in runs]
        silent = [stop and FAILURE_TAG not in run.data.tags for stop, run in zip(stopped, runs, strict=True)]
        if stopped[-1] and (not silent[-1] or sum(silent) == 1):
            found.append(step)
    return found


def find_finished_run(config: RegistryConfig, *, config_digest: str, data_revision: str) -> str | None:
    """Key of the newest finished pipeline run of a config on a data revision; None when there is none.

    Args:
        config: the registry section.
        config_digest: digest of the RunConfig.
        data_revision: git commit that pins the data.
    """
    run = last_finished_run(config, config_digest=config_digest, data_revision=data_revision)
    return str(run.data.tags[PIPELINE_TAG]) if run is not None else None


def last_finished_run(config: RegistryConfig, *, config_digest: str, data_revision: str | None = None) -> Any:
    """MLflow's entity of the newest finished pipeline run of a config, on a data revision or any; None without one."""
    tracking = open_experiment(config)
    on_revision = f" and tags.`{DATA_REVISION_TAG}` = '{data_revision}'" if data_revision is not None else ""
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"attributes.status = 'FINISHED' and tags.`{CONFIG_DIGEST_TAG}` = '{config_digest}'{on_revision}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return found[0] if found else None


def parent_run(config: RegistryConfig, run_key: str) -> StepRun:
    """The parent run of a pipeline run, to record what is true of the whole."""
    return StepRun(open_experiment(config), pipeline_run(config, run_key, run_key=run_key))


def finish_pipeline_run(config: RegistryConfig, run_key: str, *, succeeded: bool) -> None:
    """End the parent run: FINISHED, or FAILED."""
    parent = parent_run(config, run_key)
    parent.tracking.client.set_terminated(parent.run_id, "FINISHED" if succeeded else "FAILED")


def open_experiment(config: RegistryConfig) -> Tracking:
    """Connect to MLflow and find the experiment, or create it.

    A local SQLite database is created where it is missing, with its folder; relative paths start at the working folder.

    Raises:
        UserError: MLflow cannot be reached, the database is none, or the experiment was deleted.
    """
    client, uri = _connect(config)
    from mlflow.exceptions import MlflowException

    try:
        with exclusive(config):
            experiment = client.get_experiment_by_name(config.experiment)
            if experiment is None:
                with contextlib.suppress(MlflowException):  # on a server another process may have been quicker
                    client.create_experiment(config.experiment, artifact_location=_artifact_location(config))
                experiment = client.get_experiment_by_name(config.experiment)
    except MlflowException as error:
        raise UserError(
            f"MLflow at {config.tracking_uri} does not answer ({str(error)[:200]}); check registry.tracking_uri"
        ) from error
    if experiment is None or experiment.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment {config.experiment} was deleted or cannot be created; restore it, or choose "
            "another name as registry.experiment"
        )
    return Tracking(client, experiment.experiment_id, uri)


@contextlib.contextmanager
def exclusive(config: RegistryConfig) -> Iterator[None]:
    """Keep other processes out while looking first and changing afterwards; does nothing for a server.

    Not for nesting: a second entry of the same process would wait for itself.
    """
    database = _local_database(config)
    if database is None:
        yield
        return
    with open(database.with_name(database.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def quieten_mlflow() -> None:
    """Set what MLflow reads at its import."""
    # DO_NOT_TRACK works with the word "true" only.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute; MLflow's 7 take four
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def _connect(config: RegistryConfig) -> tuple["MlflowClient", str]:
    quieten_mlflow()
    import mlflow

    # Somebody may have imported MLflow before, with its chatty default.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    database = _local_database(config)
    uri = f"sqlite:///{database}" if database else config.tracking_uri
    if database:
        _prepare_database(database, config)
    # Process-wide: MLflow resolves a logged model through the global address whatever client asks.
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri), uri


def _prepare_database(database: Path, config: RegistryConfig) -> None:
    """Create the SQLite file under another name first: a kill in the middle must leave no half-made schema."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(config):
            if not database.exists():
                _create_database(database)
        # MLflow itself would retry for minutes on a file that is no database.
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
    except OSError as error:
        raise explain_os_error(error, f"opening the MLflow database {database}") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"MLflow database {database} cannot be opened ({error}); check registry.tracking_uri") from None


def _create_database(database: Path) -> None:
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    partial = database.with_name(database.name + ".partial")
    for leftover in (partial, partial.with_name(partial.name + "-journal")):
        leftover.unlink(missing_ok=True)
    uri = f"sqlite:///{partial}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()
    os.replace(partial, database)


def _local_database(config: RegistryConfig) -> Path | None:
    """The SQLite file; None when `tracking_uri` is a server or another database."""
    uri = config.tracking_uri
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).absolute()
    if "://" not in uri:
        raise UserError(
            f"registry.tracking_uri {uri} is a folder, which MLflow no longer stores runs in; write sqlite:///{uri}.db"
        )
    return None


def _artifact_location(config: RegistryConfig) -> str | None:
    database = _local_database(config)
    if database is None:
        return None
    if config.artifacts is None:
        return str(database.parent / "mlflow-artifacts")
    return config.artifacts if "://" in config.artifacts else str(Path(config.artifacts).absolute())


def _find_pipeline_run(tracking: Tracking, run_key: str) -> Any:
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{PIPELINE_TAG}` = '{run_key}'",
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        max_results=1,
    )
    return found[0] if found else None


def _end_unsuccessful(run: StepRun, status: str, reason: str = "") -> None:
    """What went wrong in the step is worth more than that MLflow cannot be told of it."""
    from mlflow.exceptions import MlflowException

    try:
        if reason:
            run.set_tags({FAILURE_TAG: reason[:_LONGEST_TAG]})
        run.tracking.client.set_terminated(run.run_id, status)
    except MlflowException as error:
        print(f"MLflow could not be told that the step is {status}: {error}", flush=True)


def _end_cut_off_attempts(tracking: Tracking, parent: str, step: str) -> None:
    cut_off = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{_PARENT_TAG}` = '{parent}' and tags.`{STEP_TAG}` = '{step}' and attributes.status = 'RUNNING'",
    )
    for run in cut_off:
        tracking.client.set_terminated(run.info.run_id, "KILLED")
