"""Schedules and approvals on a real Prefect server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from eve_core.cli.main import app
from eve_core.config import load_config
from eve_core.errors import UserError
from infra.local.servers import free_port, prefect_worker
from pipelines.retraining import schedule
from pipelines.retraining.alone import SKIPPED
from tests.data.versioning.conftest import publish_on_main
from tests.pipelines.conftest import DEMO
from tests.pipelines.kubeflow_server import KubeflowServer

pytestmark = pytest.mark.slow(minutes=2)


@pytest.fixture
def config(tmp_path):
    """Writes a config with a schedule."""

    def config(name: str, **settings):
        tree = {"base": str(DEMO), "name": name, "workspace": str(tmp_path), "schedule": settings}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return config


def test_a_config_is_scheduled_and_changed_in_place(prefect, config):
    first = schedule.apply(config("weekly", cron="0 3 * * 1", timezone="Europe/Berlin"))
    assert (first.cron, first.paused, first.last, first.waiting) == ("0 3 * * 1", False, "never ran", [])
    changed = schedule.apply(config("weekly", cron="30 4 * * *"))
    assert changed.cron == "30 4 * * *"
    assert [found.name for found in schedule.show()].count("weekly") == 1
    assert schedule.apply(config("weekly")).cron is None


def test_it_is_paused_and_goes_on(prefect, config):
    schedule.apply(config("paused", cron="0 3 * * 1"))
    assert schedule.pause("paused").paused
    assert next(found for found in schedule.show() if found.name == "paused").paused
    assert not schedule.pause("paused", paused=False).paused


def test_a_worker_finds_the_flow_and_no_slot_that_could_be_lost(prefect, config):
    from prefect.client.orchestration import get_client
    from prefect.deployments.runner import EntrypointType

    from pipelines.retraining.flow import retrain

    retrain.to_deployment(name="found", concurrency_limit=1, entrypoint_type=EntrypointType.MODULE_PATH).apply()
    schedule.apply(config("found", cron="0 3 * * 1"))  # whatever it was before
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{schedule.FLOW}/found")
    assert deployment.global_concurrency_limit is None
    assert deployment.entrypoint == "pipelines.retraining.flow.retrain"  # wherever the package is installed
    assert deployment.work_pool_name == "eve"
    assert deployment.job_variables == {"working_dir": os.getcwd()}  # relative paths of a config are from here


def test_a_run_is_handed_to_a_worker_with_what_it_was_told(prefect, config):
    from prefect.client.orchestration import get_client

    path = config("now")
    schedule.apply(path)
    name = schedule.run_now("now", insist=True)
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.name == name]
    assert run.parameters == {"config_path": str(path), "insist": True}
    assert run.state_name == "Scheduled"


def test_the_last_run_is_one_that_was_not_skipped(prefect, config):
    from prefect.client.orchestration import get_client
    from prefect.states import Completed, Running

    schedule.apply(config("busy"))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{schedule.FLOW}/busy").id
        first = client.create_flow_run_from_deployment(deployment, state=Running())
        client.create_flow_run_from_deployment(deployment, state=Completed(name=SKIPPED))
    assert next(found for found in schedule.show() if found.name == "busy").last == f"{first.name}: Running"


def test_what_is_not_scheduled_is_said(prefect):
    for act in (schedule.pause, schedule.run_now):
        with pytest.raises(UserError, match=r"unknown is not scheduled; `eve schedule apply --config FILE`"):
            act("unknown")


def test_a_server_that_is_away_is_said(tmp_path):
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(UserError, match=r"Prefect's server at http://127.*does not answer"),
    ):
        schedule.show()
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(UserError, match="no Prefect server is named"),
    ):
        schedule.show()


def test_the_commands(prefect, config):
    run = CliRunner()
    applied = run.invoke(app, ["schedule", "apply", "--config", str(config("said", cron="0 3 * * 1"))])
    assert applied.exit_code == 0, applied.output
    assert "said: looks at '0 3 * * 1'" in applied.output
    assert "said: looks at" in run.invoke(app, ["schedule", "list"]).output
    assert "said: paused" in run.invoke(app, ["schedule", "pause", "said"]).output
    assert "is handed to a worker" in run.invoke(app, ["schedule", "run-now", "said"]).output


_FLOW = """
import json, signal, sys
from pathlib import Path
from prefect import flow, task_engine
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Completed
from typer.testing import CliRunner
from eve_core.cli.main import app
from eve_core.config import load_config
from pipelines.retraining import flow as ours
from pipelines.retraining import schedule
from pipelines.retraining.flow import _ask, retrain
from pipelines.retraining.schedule import FLOW

@flow(name=FLOW, persist_result=False)
def asking(config_path):
    said = _ask(load_config(Path(config_path)), "run-1", {"vqa": "4"})
    return Completed(message="; ".join(said), data=said)

def deployed(flow):
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{FLOW}/{Path(sys.argv[1]).stem}")
        run = client.create_flow_run_from_deployment(deployment.id)
    return run_flow(flow, flow_run=run)

schedule._ENDS_WITHIN_SECONDS = 1

def signalled(*_, **__):
    signal.raise_signal(signal.SIGTERM)

if sys.argv[2] == "ask":
    print("result", json.dumps(deployed(asking)))
elif sys.argv[2] == "signalled":
    task_engine._create_task_run_locally = signalled
    deployed(retrain)
elif sys.argv[2] == "not due":
    ours._retrain = lambda config, insist: "nothing is due"
    print("result", json.dumps(deployed(retrain)))
else:
    state = retrain(Path(sys.argv[1]), return_state=True)
    said = CliRunner().invoke(app, ["retrain", "--config", sys.argv[1]])
    print("result", json.dumps([state.name, state.message, said.exit_code, said.output]))
"""


@pytest.fixture
def run_flow(prefect, tmp_path):
    """Runs a flow in a process of its own: where Prefect ran, data loaders cannot fork any more."""

    def run_flow(path, what, meanwhile=lambda: None):
        (tmp_path / "run_flow.py").write_text(_FLOW)
        environment = {**os.environ, "PREFECT_API_URL": f"{prefect.uri}/api", "PREFECT_HOME": str(tmp_path / "flow")}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "run_flow.py"), str(path), what],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        if meanwhile() == signal.SIGKILL:
            process.kill()
            return process.wait(60)
        printed, _ = process.communicate(timeout=120)
        if process.returncode:
            return process.returncode
        return json.loads(next(line for line in printed.splitlines() if line.startswith("result")).partition(" ")[2])

    return run_flow


def _until(true):
    until = time.monotonic() + 180
    while not true():
        assert time.monotonic() < until, "not within three minutes"
        time.sleep(0.3)


def _until_it_asks(name):
    _until(lambda: next(found for found in schedule.show() if found.name == name).waiting)


def test_a_no_promotes_nothing_and_who_says_it_hears_what_was_done(run_flow, config):
    path, heard = config("asked"), []
    schedule.apply(path)

    def answer():
        _until_it_asks("asked")
        heard.append(schedule.answer("asked", approve=False, reason="the slices look odd"))

    said = run_flow(path, "ask", answer)
    assert said == ["vqa version 4 was not approved: the slices look odd"]
    assert heard[0].endswith(f": {said[0]}")


def test_no_answer_is_a_no(run_flow, config):
    path = config("unheard", approval_hours=0.0005)
    schedule.apply(path)
    assert run_flow(path, "ask") == ["nobody approved vqa version 4 in time; `eve promote` still can"]


def test_an_answer_to_a_run_that_was_killed_is_no_yes(run_flow, config, monkeypatch):
    path = config("killed")
    schedule.apply(path)

    def kill():
        _until_it_asks("killed")
        time.sleep(2)  # Prefect stores what may be answered just after that it asks
        return signal.SIGKILL

    run_flow(path, "ask", kill)
    monkeypatch.setattr(schedule, "_HEARS_WITHIN_SECONDS", 3.0)
    with pytest.raises(UserError, match="does not hear the answer; its process must be gone"):
        schedule.answer("killed", approve=True, reason="fine")
    found = next(found for found in schedule.show() if found.name == "killed")
    assert not found.waiting
    assert found.last.endswith(": Crashed")


def test_a_retraining_ends_what_only_seems_to_go_on(run_flow, config, webhook):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling, Paused, Running

    path = config("gone")
    schedule.apply(path)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{schedule.FLOW}/gone").id
        seem = (Paused(timeout_seconds=3600), Running(), Cancelling())
        lost = [client.create_flow_run_from_deployment(deployment, state=state) for state in seem]
        assert next(found for found in schedule.show() if found.name == "gone").waiting
        assert run_flow(path, "not due") == "nothing is due"
        assert [client.read_flow_run(run.id).state_name for run in lost] == ["Crashed", "Crashed", "Cancelled"]
    said = {f"retraining gone: run {run.name} was stopped: its process died without a word" for run in lost}
    assert (set(webhook[1]), len(webhook[1])) == (said, 3)
    found = next(found for found in schedule.show() if found.name == "gone")
    assert not found.waiting
    assert found.last.endswith(": Completed")


def test_a_signal_while_prefect_begins_a_task_is_no_failure(run_flow, config, webhook):
    path = config("signalled")
    schedule.apply(path)
    assert run_flow(path, "signalled") == -signal.SIGTERM
    assert [said.partition(": run ")[0] for said in webhook[1]] == ["retraining signalled"]
    assert "was stopped" in webhook[1][0]


@pytest.fixture
def never_answers():
    """A repository's address where nobody ever says anything, so that a retraining hangs on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/data.git"


def test_people_hear_of_a_run_that_was_killed(prefect, config, never_answers, webhook, tmp_path):
    from prefect.client.orchestration import get_client

    path = config("stopped", work_pool="stopped")  # a worker of eve would run what other tests left
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "data": {"repository": never_answers}}))
    schedule.apply(path)
    worker = prefect_worker(tmp_path, f"{prefect.uri}/api", pool="stopped")
    with worker, get_client(sync_client=True) as client:
        name = schedule.run_now("stopped")
        (run,) = [run for run in client.read_flow_runs() if run.name == name]
        _until(lambda: client.read_flow_run(run.id).state_name == "Running")
        for process in psutil.Process(worker.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if str(run.id) in process.environ().values():
                    process.kill()
        _until(lambda: webhook[1])
    assert len(webhook[1]) == 1
    assert webhook[1][0].startswith(f"retraining stopped: run {name} was stopped: ")
    assert "-9" in webhook[1][0]


def test_who_cancels_a_run_stops_what_it_submitted_to_kubeflow(prefect, webhook, monkeypatch, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    kubeflow = KubeflowServer()
    monkeypatch.setenv("EVE_KFP", kubeflow.address)
    monkeypatch.setenv("EVE_DATA_REPOSITORY", publish_on_main(tmp_path / "data").as_uri())
    path = tmp_path / "cancelled.yaml"
    cluster = {"mount_path": str(tmp_path)}
    when = {"submit": True, "work_pool": "cancelled", "cron": None, "max_cost": None}
    tree = {"base": str(DEMO.parent / "eve_base_cluster.yaml"), "name": "cancelled", "cluster": cluster}
    path.write_text(yaml.safe_dump({**tree, "schedule": when}))
    schedule.apply(path)
    worker = prefect_worker(tmp_path, f"{prefect.uri}/api", pool="cancelled")
    with contextlib.closing(kubeflow), worker, get_client(sync_client=True) as client:
        name = schedule.run_now("cancelled", insist=True)
        (run,) = [run for run in client.read_flow_runs() if run.name == name]
        _until(lambda: "eve.kubeflow_run" in client.read_flow_run(run.id).labels)
        client.set_flow_run_state(run.id, Cancelling())
        _until(lambda: webhook[1])
    assert len(webhook[1]) == 1
    assert webhook[1][0].startswith(f"retraining cancelled: run {name} was stopped: Flow run was cancelled.")
    ((submitted, ended),) = kubeflow.made["runs"].items()
    assert ended["state"] == "CANCELING"
    assert webhook[1][0].endswith(f"; {submitted} on Kubeflow is told to stop, too")


def test_training_is_on_the_commit_that_was_decided_on(config, monkeypatch):
    from pipelines.eve_training import pipeline
    from pipelines.retraining.flow import run_workflow

    received = {}
    monkeypatch.setattr(pipeline, "training_pipeline", lambda: lambda **arguments: received.update(arguments))
    settings = load_config(config("moved"))
    run_workflow.fn(settings, "a" * 40, False)
    assert received["data"]["revision"] == "a" * 40 != settings.data.revision


def test_an_answer_that_nobody_waits_for_is_said(prefect, config):
    schedule.apply(config("idle"))
    with pytest.raises(UserError, match="no run of idle waits for approval"):
        schedule.answer("idle", approve=True, reason="fine")


def test_two_retrainings_of_a_config_do_not_overlap(run_flow, config):
    from pipelines.retraining.alone import alone

    path = config("twice")
    settings = load_config(path)
    with alone(settings):
        state, message, status, said = run_flow(path, "retrain")
        assert (state, status) == ("Skipped", 0)
        assert message.startswith("nothing done: another retraining of twice goes on")
        assert message in said
    with alone(settings), pytest.raises(UserError, match="another retraining of twice goes on"), alone(settings):
        pass
    with alone(settings):
        pass
