"""People are told how a run ended, whatever happened, and nothing secret."""

from types import SimpleNamespace

import pytest

from components.deployment.report.component import report
from components.step import RUN_KEY_VARIABLE
from eve_core.config import NotificationConfig, RunSettings, load_config
from eve_core.report import RunSummary, TaskSummary, message, notify
from eve_core.report.collect import StepSummary
from tests.pipelines.conftest import DEMO


def summary(**tasks: TaskSummary) -> RunSummary:
    return RunSummary("eve-base-1", "run-id", {}, tasks)


BLESSED = {"blessed": True, "reasons": []}
REFUSED = {"blessed": False, "reasons": ["accuracy 0.6 is below 0.65"]}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TaskSummary("vqa", BLESSED, "3", "4", True), "vqa: blessed and promoted: version 4, before it 3"),
        (TaskSummary("vqa", REFUSED, "3", "3"), "vqa: refused, champion is 3: accuracy 0.6 is below 0.65"),
        (TaskSummary("vqa", REFUSED), "vqa: refused, champion is none: accuracy 0.6 is below 0.65"),
        (TaskSummary("vqa", BLESSED, "3", "3"), "vqa: blessed, nothing changed: champion is 3"),
        (
            TaskSummary("vqa", BLESSED, "3", "3", awaits_approval="4"),
            "vqa: blessed; version 4 waits for approval, champion is 3",
        ),
        (TaskSummary("vqa", None, None, "3"), "vqa: not judged; champion is 3"),
    ],
)
def test_every_outcome_of_a_task_is_said(task, said):
    assert message(summary(vqa=task), succeeded=True).splitlines() == ["EVE run eve-base-1 ended", said]


def test_a_failure_is_said_with_its_reason():
    failed = StepSummary("pretrain", "id", "FAILED", False, 3.0, {}, [], "the disk is full")
    run = RunSummary("eve-base-1", "run-id", {"pretrain": failed})
    assert message(run, succeeded=False) == "EVE run eve-base-1 FAILED\npretrain failed: the disk is full"


def test_the_webhook_gets_the_message(webhook):
    assert notify(NotificationConfig(), "all is well") == "notified"
    assert webhook[1] == ["all is well"]


def test_without_a_webhook_nobody_is_told(monkeypatch):
    monkeypatch.delenv("EVE_WEBHOOK_URL", raising=False)
    assert notify(NotificationConfig(), "all is well") == "nobody is notified: EVE_WEBHOOK_URL is not set"


@pytest.mark.parametrize("status", [403, 500])
def test_a_webhook_that_refuses_stops_nothing_and_its_address_is_not_said(webhook, status):
    webhook[0].status = status
    said = notify(NotificationConfig(), "all is well")
    assert said == f"the notification could not be sent ({status}); check the URL in EVE_WEBHOOK_URL"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/secret", "http://127.0.0.1:9/a secret", "no address", "ftp://127.0.0.1/secret"]
)
def test_an_address_that_leads_nowhere_stops_nothing(monkeypatch, address):
    monkeypatch.setenv("EVE_WEBHOOK_URL", address)
    said = notify(NotificationConfig(), "all is well")
    assert "could not be sent" in said
    assert "secret" not in said


def test_a_run_whose_record_cannot_be_read_is_told_of_all_the_same(webhook, monkeypatch, tmp_path):
    def away(*_: object) -> None:
        raise ConnectionError("the registry is away")

    monkeypatch.setenv(RUN_KEY_VARIABLE, "eve-base-1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # put back afterwards
    monkeypatch.setattr("eve_core.report.collect", away)
    config = load_config(DEMO)
    run = RunSettings(seed=1, workspace=tmp_path, registry=config.registry, code_digest="", source_digest="")
    status, page = SimpleNamespace(state="FAILED"), SimpleNamespace(path=str(tmp_path / "page.html"))
    with pytest.raises(ConnectionError):
        report.python_func(status, run.model_dump(mode="json"), config.model_dump(mode="json"), page)
    assert webhook[1] == ["EVE run eve-base-1 FAILED, and its report failed: ConnectionError: the registry is away"]
