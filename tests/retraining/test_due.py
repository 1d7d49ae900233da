"""When a run is due; time is moved, MLflow is real."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from eve_core.config import DriftTrigger, RegistryConfig, ScheduleConfig, load_config
from eve_core.registry.tracking import (
    CONFIG_DIGEST_TAG,
    DATA_REVISION_TAG,
    finish_pipeline_run,
    open_experiment,
    parent_run,
)
from eve_core.registry.versions import RegisteredVersion
from pipelines.retraining import due
from pipelines.retraining.due import decide, estimated_cost, has_drifted, too_expensive
from tests.data.versioning.conftest import write_prepared
from tests.pipelines.conftest import DEMO

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An empty MLflow database, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("empty")
    open_experiment(RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment="empty"))
    return folder / "mlflow.db"


@pytest.fixture
def config(tmp_path, empty):
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    registry = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts"))
    return load_config(DEMO).model_copy(update={"registry": registry, "workspace": tmp_path})


def scheduled(config, **settings):
    return config.model_copy(update={"schedule": ScheduleConfig.model_validate(settings)})


def run_of(config, key, commit, *, blessed=(1.0, 1.0), succeeded=True):
    """A pipeline run that ended."""
    parent = parent_run(config.registry, key)
    parent.set_tags({CONFIG_DIGEST_TAG: config.digest(), DATA_REVISION_TAG: commit})
    parent.log_metrics({f"task{place}.blessed": value for place, value in enumerate(blessed)})
    finish_pipeline_run(config.registry, key, succeeded=succeeded)


def test_a_new_data_revision_is_due_once(config):
    assert decide(config, "commit-1", NOW).due
    run_of(config, "run-1", "commit-1")
    decision = decide(config, "commit-1", NOW)
    assert not decision.due
    assert decision.reason == "nothing to do: run-1 trained on data revision commit-1"
    assert decide(config, "commit-2", NOW).due


def test_a_run_that_failed_does_not_count(config):
    run_of(config, "run-1", "commit-1", succeeded=False)
    assert decide(config, "commit-1", NOW).due


def test_another_config_is_another_matter_but_not_where_it_runs(config):
    run_of(config, "run-1", "commit-1")
    assert decide(config.model_copy(update={"seed": 99}), "commit-1", NOW).due
    assert not decide(scheduled(config, cron="0 3 * * 1"), "commit-1", NOW).due
    launch = config.pretraining.launch.model_copy(update={"processes": "gpus"})
    elsewhere = config.pretraining.model_copy(update={"launch": launch})
    assert not decide(config.model_copy(update={"pretraining": elsewhere}), "commit-1", NOW).due
    approved = config.registry.model_copy(update={"approval": True})
    assert not decide(config.model_copy(update={"registry": approved}), "commit-1", NOW).due


def test_somebody_may_insist(config):
    run_of(config, "run-1", "commit-1")
    assert decide(config, "commit-1", NOW, insist=True).due


def test_after_refusals_it_cools_down(config):
    patient = scheduled(config, cool_down_days=7)
    run_of(patient, "run-1", "commit-1", blessed=(0.0, 0.0))
    decision = decide(patient, "commit-2", NOW + timedelta(days=6))
    assert not decision.due
    assert "cooling down until" in decision.reason
    assert decide(patient, "commit-2", NOW + timedelta(days=8)).due
    assert decide(patient, "commit-2", NOW, insist=True).due


def test_a_single_blessing_is_no_reason_to_cool_down(config):
    patient = scheduled(config, cool_down_days=7)
    run_of(patient, "run-1", "commit-1", blessed=(0.0, 1.0))
    assert decide(patient, "commit-2", NOW).due


def test_new_data_may_have_to_wait_for_somebody(config):
    decision = decide(scheduled(config, new_data=False), "commit-1", NOW)
    assert not decision.due
    assert "the schedule says to wait" in decision.reason


@pytest.mark.parametrize(
    ("distances", "is_due"),
    [
        ([], False),
        ([0.9, 0.9], False),  # fewer than have to
        ([0.1, 0.1, 0.9, 0.1, 0.1], False),  # one that sticks out
        ([0.9, 0.1, 0.9, 0.1, 0.9], True),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], False),  # the first is out of the window
        ([0.3, 0.3, 0.3, 0.3, 0.3], False),  # at the threshold
    ],
)
def test_drift_has_to_last(distances, is_due):
    assert has_drifted(DriftTrigger(threshold=0.3, windows=5, violations=3), distances).due is is_due


def test_every_revision_is_measured_once_and_enough_of_them_are_due(config, monkeypatch):
    drifting = scheduled(config, new_data=False, drift={"threshold": 0.3, "windows": 4, "violations": 2})
    distances = {"commit-1": 0.1, "commit-2": 0.5, "commit-3": 0.2, "commit-4": 0.6}
    measured = []
    monkeypatch.setattr(due, "_measure", lambda config, commit, digests: measured.append(commit) or distances[commit])
    decisions = [decide(drifting, commit, NOW).due for commit in distances for _ in range(2)]
    assert decisions == [False] * 6 + [True] * 2
    assert measured == [*distances]


def test_what_drifted_from_an_earlier_champion_counts_no_more(config, monkeypatch):
    """Else the retraining that it led to would be followed by another, and another."""
    drifting = scheduled(config, new_data=False, drift={"threshold": 0.3, "windows": 4, "violations": 2})
    champions_data = "old"
    made = {"task": "vqa", "name": "eve-vqa", "version": "1", "model_digest": "", "metrics": {}, "blessing_digest": ""}
    rest = {"data_revision": "", "git_revision": "", "pipeline_run": ""}
    monkeypatch.setattr(
        "eve_core.registry.promotion.champion",
        lambda *_: RegisteredVersion(**made, **rest, data_digest=champions_data),
    )
    distances = {("commit-1", "old"): 0.5, ("commit-2", "old"): 0.5, ("commit-2", "new"): 0.0, ("commit-3", "new"): 0.1}
    monkeypatch.setattr(due, "_measure", lambda config, commit, digests: distances[commit, *digests])
    assert [decide(drifting, commit, NOW).due for commit in ("commit-1", "commit-2")] == [False, True]
    champions_data = "new"
    assert [decide(drifting, commit, NOW).due for commit in ("commit-2", "commit-3")] == [False, False]


@pytest.mark.parametrize(("cost", "started"), [(None, True), (99.0, True), (100.0, True), (101.0, False)])
def test_what_costs_too_much_is_not_started(cost, started):
    said = too_expensive(ScheduleConfig(max_cost=100), cost)
    assert (said is None) is started
    if said:
        assert "it would cost about 101, and schedule.max_cost is 100" in said


def test_the_estimate_is_of_the_data_revision_itself(tmp_path):
    from eve_core.config import DataConfig
    from eve_core.data.versioning import publish, resolve_revision

    base = load_config(DEMO.parent / "eve_base.yaml")
    retrieval = base.tasks["retrieval"]
    train = retrieval.data.train.model_copy(update={"set": "flickr8k", "splits": ["train"]})
    task = retrieval.model_copy(update={"data": retrieval.data.model_copy(update={"train": train})})
    data = DataConfig(repository=str(tmp_path / "repository"), commit=True)
    config = base.model_copy(update={"tasks": {"retrieval": task}, "data": data})
    costs = []
    for number in (10, 100_000):
        publish(data, write_prepared(tmp_path / f"of-{number}", {str(place): "a dog" for place in range(number)}))
        costs.append(estimated_cost(config, resolve_revision(data).commit))
    assert 0 < costs[0] < costs[1]
    assert estimated_cost(config.model_copy(update={"pool": None}), "unknown") is None


def test_drift_is_measured_on_the_data_itself(config, tmp_path, monkeypatch):
    """From the data behind the champion, as its validation kept it, to a new revision that is brought by DVC."""
    from eve_core.config import DataConfig
    from eve_core.data.prepared import PreparedData
    from eve_core.data.versioning import publish, resolve_revision
    from eve_core.quality import measure_drift, validate_data
    from eve_core.registry.tracking import DATA_DIGEST_TAG, step_run

    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc"))
    data = DataConfig(repository=str(tmp_path / "repository"), commit=True)
    config = config.model_copy(update={"data": data})
    validation = config.validation.model_copy(update={"enabled_suites": ["captions"]})
    config = config.model_copy(update={"validation": validation})
    short = {str(number): "a dog" for number in range(200)}
    long = {str(number): "a small brown dog runs over the wet grass of a park" for number in range(200)}
    before = PreparedData.open(write_prepared(tmp_path / "before", short))
    report = validate_data(before, validation, tmp_path / "report").folder
    with step_run(config.registry, "run-1", "validate-data") as run:
        run.set_tags({DATA_DIGEST_TAG: before.digest})
        run.log_artifact(report)
    publish(data, write_prepared(tmp_path / "after", long))
    commit = resolve_revision(data).commit
    made = {"task": "vqa", "name": "eve-vqa", "version": "1", "model_digest": "", "metrics": {}, "blessing_digest": ""}
    best = RegisteredVersion(**made, data_revision="", data_digest=before.digest, git_revision="", pipeline_run="run-1")
    monkeypatch.setattr("eve_core.registry.promotion.champion", lambda registry, task: best)
    distance = due._measure(config, commit, [before.digest])
    assert distance == measure_drift(PreparedData.open(tmp_path / "after"), validation, report)
    assert distance > 0.5
    drifting = scheduled(config, new_data=False, drift={"threshold": 0.3, "windows": 1, "violations": 1})
    assert decide(drifting, commit, NOW).due
