"""Submitting to Kubeflow over HTTP: once, and understandably."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from eve_core.config import RunConfig, load_config
from eve_core.errors import UserError
from infra.local.servers import mlflow_server
from pipelines.eve_training import kubeflow
from tests.data.versioning.conftest import git, publish_on_main
from tests.pipelines.kubeflow_server import KubeflowServer

_CONFIG = Path(__file__).parents[2] / "configs" / "eve_base_cluster.yaml"


@pytest.fixture
def server():
    server = KubeflowServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def data_repository(tmp_path_factory):
    """With a data revision on main."""
    return publish_on_main(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(server, data_repository, tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("EVE_KFP", server.address)
    monkeypatch.setenv("EVE_DATA_REPOSITORY", data_repository.as_uri())
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    tree = yaml.safe_load(_CONFIG.read_text())
    tree["base"] = str(_CONFIG.parent / tree["base"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_config(path)


def test_a_run_is_submitted_with_its_parameters_and_the_resolved_data_revision(config, server, data_repository):
    submitted = kubeflow.submit(config)
    assert submitted.new
    (run,) = server.made["runs"].values()
    assert (run["run_id"], run["display_name"]) == (submitted.run_id, submitted.name)
    assert submitted.url == f"{server.address}/#/runs/details/{submitted.run_id}"
    assert run["service_account"] == "eve-pipeline"
    assert run["runtime_config"]["pipeline_root"] == "s3://eve-pipelines/v2"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["data"]["revision"] == git(data_repository, "rev-parse", "main")
    assert parameters["run"]["workspace"] == "/workspace/runs"
    version = server.made["versions"][run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["pipeline_spec"]["pipelineInfo"]["name"] == "eve-training"
    (experiment,) = server.made["experiments"].values()
    assert run["experiment_id"] == experiment["experiment_id"]
    assert experiment["display_name"] == "eve"


def test_submitting_again_starts_nothing(config, server):
    first = kubeflow.submit(config)
    again = kubeflow.submit(config)
    assert (again.run_id, again.name, again.new) == (first.run_id, first.name, False)
    server.end(first.run_id, "SUCCEEDED")
    assert kubeflow.submit(config).run_id == first.run_id
    assert len(server.made["runs"]) == 1
    assert [len(server.made[kind]) for kind in ("pipelines", "versions", "experiments")] == [1, 2, 1]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_ended_badly_is_started_anew(config, server, state):
    first = kubeflow.submit(config)
    server.end(first.run_id, state)
    second = kubeflow.submit(config)
    assert second.new
    assert second.name == f"{first.name}-2"
    assert kubeflow.submit(config).run_id == second.run_id


def test_other_settings_are_another_run_of_the_same_pipeline_version(config, server):
    first = kubeflow.submit(config)
    second = kubeflow.submit(config.model_copy(update={"seed": 7}))
    assert second.new
    assert second.name != first.name
    assert len({run["pipeline_version_reference"]["pipeline_version_id"] for run in server.made["runs"].values()}) == 1
    gpus = config.cluster.finetune.model_copy(update={"gpus": 4})
    kubeflow.submit(
        config.model_copy(update={"seed": 8, "cluster": config.cluster.model_copy(update={"finetune": gpus})})
    )
    assert len({run["pipeline_version_reference"]["pipeline_version_id"] for run in server.made["runs"].values()}) == 2


def test_a_recurring_run_is_ordered_once_and_replaced_by_another(config, server):
    assert kubeflow.repeat(config, "0 0 3 * * 1")
    assert not kubeflow.repeat(config, "0 0 3 * * 1")
    (ordered,) = server.made["recurringruns"].values()
    assert ordered["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert ordered["max_concurrency"] == 1
    assert ordered["runtime_config"]["parameters"]["data"]["revision"] == "main"  # resolved when it runs
    assert kubeflow.repeat(config, "0 0 5 * * 1")
    (ordered,) = server.made["recurringruns"].values()
    assert ordered["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * 1"


def test_an_expired_token_is_said_and_a_fresh_one_is_taken(config, server, monkeypatch):
    server.token = "fresh"
    monkeypatch.setenv("KFP_TOKEN", "stale")
    with pytest.raises(UserError, match=r"does not let us in \(401.*put a fresh token into KFP_TOKEN.*namespace eve"):
        kubeflow.submit(config)
    assert server.made["runs"] == {}
    monkeypatch.setenv("KFP_TOKEN", "fresh")
    assert kubeflow.submit(config).new


def test_in_a_pod_the_token_is_the_one_that_the_cluster_keeps_fresh(config, server, monkeypatch, tmp_path):
    file = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    file.write_text("of noon\n")
    server.token = "of noon"
    submitted = kubeflow.submit(config)
    server.token = "of two"
    with pytest.raises(UserError, match="does not let us in"):
        kubeflow.status(config, submitted.run_id)
    file.write_text("of two\n")
    assert kubeflow.status(config, submitted.run_id).state == "PENDING"


def test_what_kubeflow_refuses_is_said(config, server):
    submitted = kubeflow.submit(config)
    server.failing = 100
    with pytest.raises(UserError, match=r"refused \(503\)"):
        kubeflow.status(config, submitted.run_id)
    server.failing = 0
    with pytest.raises(UserError, match=r"refused \(404\): run no-such-run not found"):
        kubeflow.status(config, "no-such-run")


def test_kubeflow_that_is_away_is_said(config, server):
    server.close()
    with pytest.raises(UserError, match=r"Kubeflow at http://127.*does not answer.*check cluster\.endpoint"):
        kubeflow.submit(config)


def test_an_unknown_data_revision_is_said_before_anything_is_submitted(config, server):
    astray = config.model_copy(update={"data": config.data.model_copy(update={"revision": "nowhere"})})
    with pytest.raises(UserError, match=r"data\.revision 'nowhere'"):
        kubeflow.submit(astray)
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"registry": {"tracking_uri": "sqlite:///here.db"}}, "is on this machine; a cluster needs the URL"),
        ({"data": {"repository": "somewhere"}}, r"data\.repository is on this machine"),
        ({"tokenizer": {"path": "vocab.txt"}}, r"a file of the config \(vocab\.txt\) is on this machine"),
    ],
)
def test_what_a_cluster_cannot_see_is_named(config, server, change, message):
    (name, values), *_ = change.items()
    section = getattr(config, name)
    values = {key: Path(value) if key == "path" else value for key, value in values.items()}
    with pytest.raises(UserError, match=message):
        kubeflow.submit(config.model_copy(update={name: section.model_copy(update=values)}))


def task(name: str, state: str, start: str, end: str = "1970-01-01T00:00:00Z", **more) -> dict:
    return {"display_name": name, "state": state, "start_time": start, "end_time": end, **more}


def test_the_state_of_a_run_step_by_step(config, server):
    submitted = kubeflow.submit(config)
    assert kubeflow.status(config, submitted.run_id).state == "PENDING"
    tasks = [
        task("pretrain", "FAILED", "2026-11-22T10:05:00Z", "2026-11-22T11:05:00Z", error={"message": "out of memory"}),
        task("resolve-data", "SUCCEEDED", "2026-11-22T10:00:00Z", "2026-11-22T10:00:30Z"),
        task("root-driver", "SUCCEEDED", "2026-11-22T09:59:00Z", "2026-11-22T09:59:30Z"),
    ]
    server.end(submitted.run_id, "FAILED", tasks)
    state = kubeflow.wait(config, submitted.run_id)
    assert state.state == "FAILED"
    assert [(step.name, step.state, step.seconds, step.error) for step in state.steps] == [
        ("resolve-data", "SUCCEEDED", 30.0, ""),
        ("pretrain", "FAILED", 3600.0, "out of memory"),
    ]


def test_waiting_outlives_a_server_that_is_away(config, server):
    submitted = kubeflow.submit(config)
    server.end(submitted.run_id, "RUNNING")
    looks = iter(range(10))

    def later() -> None:
        look = next(looks)
        if look == 1:
            server.failing = 2
        if look == 5:
            server.end(submitted.run_id, "SUCCEEDED")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubeflow.time, "sleep", lambda seconds: later())
        assert kubeflow.wait(config, submitted.run_id).state == "SUCCEEDED"
    assert (server.failing, next(looks)) == (0, 6)


@pytest.mark.parametrize(("token", "gone"), [("fresh", False), (None, True)])
def test_waiting_ends_where_nobody_will_answer_any_more(config, server, monkeypatch, token, gone):
    submitted = kubeflow.submit(config)

    def later(seconds: float) -> None:
        server.token = token
        if gone:
            server.made["runs"].clear()

    with monkeypatch.context() as patch:
        patch.setattr(kubeflow.time, "sleep", later)
        with pytest.raises(UserError, match="not found" if gone else "put a fresh token into KFP_TOKEN"):
            kubeflow.wait(config, submitted.run_id)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")) as server:
        yield server.uri


@pytest.mark.parametrize(("vanish", "runs"), [(0, 1), (2, 3), (99, 4)])
def test_a_run_that_lost_a_step_with_its_node_is_submitted_again(
    config, server, mlflow, data_repository, monkeypatch, vanish, runs
):
    from eve_core.registry.tracking import open_experiment, pipeline_run, step_run
    from pipelines.retraining.flow import _run_on_cluster

    registry = config.registry.model_copy(update={"tracking_uri": mlflow})
    schedule = config.schedule.model_copy(update={"resubmissions": 3})
    config = config.model_copy(update={"registry": registry, "schedule": schedule})

    commit = git(data_repository, "rev-parse", "main")

    def end_the_newest(seconds: float) -> None:
        if seconds < 30:
            return  # a server was away
        (run_id,) = [run_id for run_id, run in server.made["runs"].items() if run["state"] == "PENDING"]
        if len(server.made["runs"]) > vanish:
            with pytest.raises(UserError), step_run(registry, run_id, "pretrain"):
                raise UserError("loss is not finite")
        else:  # nobody is left to end the step
            tracking, parent = open_experiment(registry), pipeline_run(registry, run_id, run_key=run_id)
            tags = {"mlflow.parentRunId": parent, "eve.step": "pretrain"}
            tracking.client.create_run(tracking.experiment_id, tags=tags)
        server.end(
            run_id,
            "FAILED",
            [task("pretrain", "FAILED", "2026-11-22T10:00:00Z", error={"code": 13, "message": "no more"})],
        )

    monkeypatch.setattr(kubeflow.time, "sleep", end_the_newest)
    with pytest.raises(
        UserError, match=r"ended FAILED: pretrain: no more" + ("; pretrain was cut off" if vanish == 99 else "$")
    ):
        _run_on_cluster(config, commit, insist=False)
    assert {run["runtime_config"]["parameters"]["data"]["revision"] for run in server.made["runs"].values()} == {commit}
    assert len(server.made["runs"]) == runs


@pytest.mark.parametrize(
    ("state", "then"), [("RUNNING", "CANCELING"), ("CANCELING", "CANCELING"), ("SUCCEEDED", "SUCCEEDED")]
)
def test_a_run_is_stopped_unless_it_has_ended(config, server, state, then):
    run_id = kubeflow.submit(config).run_id
    server.end(run_id, state)
    assert kubeflow.terminate(config, run_id) is (then == "CANCELING")
    assert kubeflow.status(config, run_id).state == then
    with pytest.raises(UserError, match="run unknown not found"):
        kubeflow.terminate(config, "unknown")
    server.token = "another"
    with pytest.raises(UserError, match="put a fresh token"):
        kubeflow.terminate(config, run_id)


def test_what_is_being_stopped_is_not_submitted_again_before_it_has_ended(config, server):
    first = kubeflow.submit(config)
    kubeflow.terminate(config, first.run_id)
    with pytest.raises(
        kubeflow.KubeflowAway, match=rf"is being stopped; submit it again when `eve status {first.run_id}`"
    ):
        kubeflow.submit(config)
    server.end(first.run_id, "FAILED")
    assert kubeflow.submit(config).name == f"{first.name}-2"


@pytest.mark.parametrize("seen", ["while waiting", "in its history"])
def test_a_run_that_somebody_stopped_has_not_failed(config, server, monkeypatch, seen):
    """Kubeflow calls it FAILED, for its steps were told to stop."""
    run_id = kubeflow.submit(config).run_id
    history = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}]
    if seen == "while waiting":
        kubeflow.terminate(config, run_id)
        monkeypatch.setattr(kubeflow.time, "sleep", lambda seconds: server.end(run_id, "FAILED"))
    else:
        server.end(run_id, "FAILED")
        server.made["runs"][run_id]["state_history"] = history
    assert kubeflow.wait(config, run_id).state == "CANCELED"
    server.made["runs"][run_id]["state_history"] = [*history, {"state": "RUNNING"}, {"state": "FAILED"}]  # tried again
    assert kubeflow.status(config, run_id).state == "FAILED"


def test_runs_of_other_data_are_waited_for(config, server, data_repository, webhook, monkeypatch):
    """A worker that died leaves its run; the next retraining may be of newer data."""
    from pipelines.retraining.flow import _run_on_cluster

    left = kubeflow.submit(config, commit="a" * 40)
    of_another_name = kubeflow.submit(config.model_copy(update={"name": f"{config.name}-2"}))
    commit = git(data_repository, "rev-parse", "main")
    assert kubeflow.others(config, commit) == [left.run_id]
    assert kubeflow.others(config, "a" * 40) == []
    kubeflow.terminate(config, left.run_id)
    assert kubeflow.others(config, "a" * 40) == [left.run_id]  # not beside its own end
    seen = []

    def end_the_newest(seconds: float) -> None:
        run_id = [run_id for run_id in server.made["runs"] if run_id != of_another_name.run_id][-1]
        seen.append(run_id)
        server.end(run_id, "SUCCEEDED")

    monkeypatch.setattr(kubeflow.time, "sleep", end_the_newest)
    ours = _run_on_cluster(config, commit, insist=False)
    assert seen == [left.run_id, ours]
    assert webhook[1] == [f"retraining {config.name}: waits for the end of {left.run_id} on Kubeflow"]


def test_somebody_may_insist_on_the_same_run_again(config, server):
    first = kubeflow.submit(config)
    assert not kubeflow.submit(config, again=True).new  # it is still running
    server.end(first.run_id, "SUCCEEDED")
    assert kubeflow.submit(config, again=True).name == f"{first.name}-2"


def test_the_commits_name_does_not_make_another_run(config, server, monkeypatch):
    first = kubeflow.submit(config)
    monkeypatch.setenv("EVE_GIT_REVISION", "the same code from elsewhere")
    assert kubeflow.submit(config).run_id == first.run_id


def test_an_order_that_was_interrupted_is_put_in_order(config, server):
    kubeflow.repeat(config, "0 0 3 * * 1")
    (ordered,) = server.made["recurringruns"].values()
    for place, name in enumerate(("eve-base-cluster-old", ordered["display_name"])):
        server.made["recurringruns"][str(place)] = {**ordered, "recurring_run_id": str(place), "display_name": name}
    assert not kubeflow.repeat(config, "0 0 3 * * 1")
    assert [one["display_name"] for one in server.made["recurringruns"].values()] == [ordered["display_name"]]


def test_a_list_that_is_refused_for_now_is_asked_for_again(config, server, monkeypatch):
    answer = server.answer
    away = (503, {"message": "no healthy upstream"})
    monkeypatch.setattr(server, "answer", lambda *asked: away if "/runs" in asked[1] else answer(*asked))
    with pytest.raises(kubeflow.KubeflowAway, match=r"refused \(503\): no healthy upstream"):
        kubeflow.others(config, "a" * 40)
    with pytest.raises(kubeflow.KubeflowAway):
        kubeflow.submit(config)


@pytest.mark.parametrize(
    ("state", "end", "told"),
    [
        ("RUNNING", "Crashed", "; RUN on Kubeflow goes on, and the next retraining waits for it"),
        ("RUNNING", "Cancelled", "; RUN on Kubeflow is told to stop, too"),
        ("SUCCEEDED", "Crashed", ""),
        ("SUCCEEDED", "Cancelled", ""),
        (None, "Cancelled", "; RUN on Kubeflow may go on: Kubeflow at"),
    ],
)
def test_people_hear_what_becomes_of_a_run_that_nobody_waits_for(
    config, server, webhook, monkeypatch, state, end, told
):
    from prefect import states

    from pipelines.retraining import flow

    run_id = kubeflow.submit(config).run_id
    monkeypatch.setattr(flow, "_submitted_by", lambda flow_run: run_id)
    if state is None:
        server.close()
    else:
        server.end(run_id, state)
    flow._tell_of_its_end(config, SimpleNamespace(name="mink"), getattr(states, end)(message="why"))
    said = f"retraining {config.name}: run mink was stopped: why{told.replace('RUN', run_id)}"
    assert webhook[1][0].startswith(said)
    assert state is None or webhook[1] == [said]


def test_a_login_page_is_no_answer(config, server, monkeypatch):
    monkeypatch.setattr(server, "answer", lambda *_: (200, None))
    monkeypatch.setattr("json.dumps", lambda *_, **__: "<html>")
    with pytest.raises(UserError, match="it answers with a page, perhaps to log in"):
        kubeflow.status(config, "run")


def test_the_commands(config, server, tmp_path):
    from eve_core.cli.main import app

    run = CliRunner()
    path = str(tmp_path / "config.yaml")
    first = run.invoke(app, ["submit", "--config", path])
    assert first.exit_code == 0, first.output
    (run_id,) = server.made["runs"]
    assert f"submitted: {run_id}" in first.output
    assert f"was submitted before: {run_id}" in run.invoke(app, ["submit", "--config", path]).output
    server.end(run_id, "SUCCEEDED")
    assert "-2 submitted" in run.invoke(app, ["submit", "--config", path, "--again"]).output
    server.end(run_id, "FAILED", [task("gate", "FAILED", "2026-11-22T10:00:00Z", error={"message": "no scores"})])
    shown = run.invoke(app, ["status", run_id, "--config", path])
    assert shown.exit_code == 1
    assert "gate" in shown.output
    assert "no scores" in shown.output
    assert f"{run_id} has ended already" in run.invoke(app, ["terminate", run_id, "--config", path]).output
    assert (
        "is started by Kubeflow at '0 0 3 * * 1'"
        in run.invoke(app, ["submit", "--config", path, "--cron", "0 0 3 * * 1"]).output
    )


def test_nothing_secret_is_in_what_is_sent(config, server, tmp_path):
    """Secrets are in the environment of whoever submits, and their names in the pipeline."""
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "hidden-1",
        "EVE_WEBHOOK_URL": "http://127.0.0.1/hidden-2",
        "KFP_TOKEN": "hidden-3",
    }
    environment = {**os.environ, **secrets, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "eve_core.cli.main", "submit", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "hidden" not in done.stdout + done.stderr + str(server.made) + str(server.packages)
    assert "eve-s3" in server.packages[-1]


def test_logs_are_those_of_the_steps_pods(config, server, tmp_path, monkeypatch):
    from tests.training.cluster import Cluster

    submitted = kubeflow.submit(config)
    pods = [{"pod_name": "eve-1-node-0"}]
    tasks = [
        task("pretrain", "FAILED", "2026-11-22T10:05:00Z", child_tasks=pods),
        task("gate", "SUCCEEDED", "2026-11-22T10:05:00Z", child_tasks=[{"pod_name": "absent"}]),
    ]
    server.end(submitted.run_id, "FAILED", tasks)
    (tmp_path / "eve-1-0.log").write_text("CUDA out of memory\n")
    cluster = Cluster(tmp_path)
    try:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kube_config))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kube_config))
        assert [*kubeflow.logs(config, submitted.run_id)] == [("pretrain", "CUDA out of memory\n")]
        ((_, said),) = kubeflow.logs(config, submitted.run_id, "gate")
        assert "the log of pod absent is gone" in said
        with pytest.raises(UserError, match=r"there is no step tune in run .*; its steps are gate, pretrain"):
            [*kubeflow.logs(config, submitted.run_id, "tune")]
    finally:
        cluster.close()
