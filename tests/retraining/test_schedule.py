"""Schedules and approvals on a real Prefect server."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from typer.testing import CliRunner

from eve_core.cli.main import app
from eve_core.config import load_config
from eve_core.errors import UserError
from infra.local.servers import free_port
from pipelines.retraining import schedule
from pipelines.retraining.alone import SKIPPED
from tests.pipelines.conftest import DEMO

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
import json, sys
from pathlib import Path
from prefect import flow
from typer.testing import CliRunner
from eve_core.cli.main import app
from eve_core.config import load_config
from pipelines.retraining.flow import _ask, retrain

@flow(name="asking")
def asking():
    return _ask(load_config(Path(sys.argv[1])), "run-1", {"vqa": "4"})

if sys.argv[2] == "ask":
    print("result", json.dumps(asking()))
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
        meanwhile()
        printed, _ = process.communicate(timeout=120)
        return json.loads(next(line for line in printed.splitlines() if line.startswith("result")).partition(" ")[2])

    return run_flow


def _answer_the_one_that_waits(answer) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for _ in range(600):
            waiting = [run for run in client.read_flow_runs() if run.state_name == "Paused"]
            if waiting:
                client.resume_flow_run(waiting[0].id, run_input=answer)
                return
            time.sleep(0.1)


def test_a_no_promotes_nothing(run_flow, config):
    no = {"approve": False, "reason": "the slices look odd"}
    said = run_flow(config("asked"), "ask", lambda: _answer_the_one_that_waits(no))
    assert said == ["vqa version 4 was not approved: the slices look odd"]


def test_no_answer_is_a_no(run_flow, config):
    assert run_flow(config("asked", approval_hours=0.0005), "ask") == [
        "nobody approved vqa version 4 in time; `eve promote` still can"
    ]


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
