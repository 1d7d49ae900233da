"""Pipeline runs and their steps in MLflow, from one process and from several."""

import os
import subprocess
import sys

import pytest

from eve_core.config.run import RegistryConfig
from eve_core.errors import Preempted, UserError
from eve_core.registry.tracking import (
    finish_pipeline_run,
    open_experiment,
    pipeline_run,
    step_run,
    step_runs,
    steps_cut_off,
)


def steps_of(config, run_key="run-1"):
    return [(run.data.tags["eve.step"], run.info.status) for run in step_runs(config, run_key)]


def test_one_pipeline_run_is_one_mlflow_run(config):
    first = pipeline_run(config, "demo", run_key="run-1")
    assert pipeline_run(config, "demo", run_key="run-1") == first
    assert pipeline_run(config, "demo", run_key="run-2") != first
    finish_pipeline_run(config, "run-1", succeeded=False)
    run = open_experiment(config).client.get_run(first)
    assert (run.info.status, run.info.run_name) == ("FAILED", "demo")


def test_a_step_is_a_child_with_what_it_was_given_and_found(config, tmp_path):
    params = {f"p{i}": i for i in range(150)}  # more than MLflow takes at once
    report = tmp_path / "report.txt"
    report.write_text("fine")
    with step_run(
        config, "run-1", "train", data_revision="r", data_digest="d", git_revision="g", params=params
    ) as step:
        step.log_metrics({"loss": 2.0, "ratio": float("nan")}, step=10)
        step.log_metrics({"loss": 1.0}, step=20)
        step.log_artifact(report)
    client = open_experiment(config).client
    run = client.get_run(step.run_id)
    assert run.data.tags["mlflow.parentRunId"] == pipeline_run(config, "demo", run_key="run-1")
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("eve.")}
    assert tags == {"eve.step": "train", "eve.data_revision": "r", "eve.data_digest": "d", "eve.git_revision": "g"}
    assert run.data.params == {key: str(value) for key, value in params.items()}
    assert [(m.step, m.value) for m in client.get_metric_history(step.run_id, "loss")] == [(10, 2.0), (20, 1.0)]
    assert (tmp_path / "artifacts" / step.run_id / "artifacts" / "report.txt").read_text() == "fine"
    assert steps_of(config) == [("train", "FINISHED")]


def test_a_step_that_raises_has_failed_and_one_that_is_interrupted_was_killed(config):
    with pytest.raises(UserError, match="broken"), step_run(config, "run-1", "train"):
        raise UserError("broken")
    with pytest.raises(KeyboardInterrupt), step_run(config, "run-1", "score"):
        raise KeyboardInterrupt
    assert steps_of(config) == [("train", "FAILED"), ("score", "KILLED")]


def test_another_attempt_ends_the_one_that_was_cut_off(config):
    python("with step_run(config, 'run-1', 'train'): os._exit(9)", config, expect=9)
    assert steps_of(config) == [("train", "RUNNING")]
    with step_run(config, "run-1", "train"):
        pass
    assert steps_of(config) == [("train", "KILLED"), ("train", "FINISHED")]


def test_steps_that_were_cut_off_are_those_whose_last_attempt_said_nothing(config):
    for step in ("train", "score"):
        python(f"with step_run(config, 'run-1', '{step}'): os._exit(9)", config, expect=9)
    with step_run(config, "run-1", "score"):
        pass
    with pytest.raises(UserError), step_run(config, "run-1", "gate"):
        raise UserError("broken")
    with pytest.raises(Preempted), step_run(config, "run-1", "tune"):
        raise Preempted("told to stop")
    assert steps_cut_off(config, "run-1") == ["train", "tune"]
    python("with step_run(config, 'run-1', 'train'): os._exit(9)", config, expect=9)  # tried again: not a lost node
    assert steps_cut_off(config, "run-1") == ["tune"]


def test_what_a_step_failed_of_is_said_where_mlflow_is_away(config, monkeypatch, capfd):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_, **__):
        raise MlflowException("the server is away")

    def fail():
        monkeypatch.setattr(MlflowClient, "set_tag", refuse)
        monkeypatch.setattr(MlflowClient, "set_terminated", refuse)
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"), step_run(config, "run-1", "train"):
        fail()
    assert "MLflow could not be told that the step is FAILED: the server is away" in capfd.readouterr().out


def test_mlflow_in_another_process_logs_to_the_step(config):
    with step_run(config, "run-1", "train") as step:
        code = "import mlflow; mlflow.start_run(); mlflow.log_metric('inside', 3.0)"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **step.environment}, check=True)
    assert open_experiment(config).client.get_run(step.run_id).data.metrics == {"inside": 3.0}


def test_processes_that_start_at_once_make_one_database_and_one_parent(tmp_path, monkeypatch):
    """Nothing exists yet: the first steps of two tasks create the database, the experiment and the parent together."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    config = RegistryConfig(tracking_uri="sqlite:///store/mlflow.db", artifacts="store/artifacts")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mlflow.db.partial").write_text("left by a kill")
    body = """
for i in range(3):
    with step_run(config, 'run-1', f'{sys.argv[1]}-{i}', params={'i': i}) as step:
        for k in range(20):
            step.log_metrics({'loss': k}, step=k)
"""
    processes = [start(body, config, name) for name in ("vqa", "nlvr2")]
    assert [(process.wait(60), process.stderr.read()) for process in processes] == [(0, ""), (0, "")]
    tracking = open_experiment(config)
    parents = tracking.client.search_runs([tracking.experiment_id], "tags.`eve.pipeline_run` = 'run-1'")
    assert len(parents) == 1
    assert sorted(steps_of(config)) == sorted((f"{n}-{i}", "FINISHED") for n in ("vqa", "nlvr2") for i in range(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "store"]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_telemetry_is_off(config):
    open_experiment(config)
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


def test_what_cannot_be_opened_is_said(tmp_path, config):
    (tmp_path / "notes.db").write_text("these are notes, no database, and rather more of them than a header has")
    with pytest.raises(UserError, match=r"notes\.db cannot be opened"):
        open_experiment(RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/notes.db"))
    with pytest.raises(UserError, match="is a folder, which MLflow no longer stores runs in"):
        open_experiment(RegistryConfig(tracking_uri=str(tmp_path / "mlruns")))
    with pytest.raises(UserError, match="may have only letters"):
        pipeline_run(config, "demo", run_key="it's")
    tracking = open_experiment(config)
    tracking.client.delete_experiment(tracking.experiment_id)
    with pytest.raises(UserError, match="was deleted"):
        open_experiment(config)


def start(body, config, *arguments):
    setup = (
        "import os, sys\n"
        "from eve_core.config.run import RegistryConfig\n"
        "from eve_core.registry.tracking import step_run\n"
        f"config = RegistryConfig.model_validate_json({config.model_dump_json()!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", setup + body, *arguments], stderr=subprocess.PIPE, text=True)


def python(body, config, expect=0):
    process = start(body, config)
    assert process.wait(60) == expect, process.stderr.read()
