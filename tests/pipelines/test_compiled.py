"""What the compiled pipeline promises to whatever runs it."""

from typing import Any

import pytest

from pipelines.eve_training.check import compile_pipeline

NEVER_CACHED = {"resolve-data", "find-baseline", "gate", "register", "promote", "report"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_pipeline(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


def _tasks(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graphs = [compiled["root"], *compiled["components"].values()]
    return {name: task for graph in graphs for name, task in graph.get("dag", {}).get("tasks", {}).items()}


def test_steps_that_look_at_moving_things_or_act_are_never_cached(compiled: dict[str, Any]) -> None:
    cached = {
        name: task.get("cachingOptions", {}).get("enableCache", False)
        for name, task in _tasks(compiled).items()
        if f"exec-{name}" in compiled["deploymentSpec"]["executors"]
    }
    assert {name for name, enabled in cached.items() if not enabled} == NEVER_CACHED
    assert {name for name, enabled in cached.items() if enabled} == {
        "fetch-data",
        "validate-data",
        "pretrain",
        "finetune",
        "evaluate",
    }


def test_registration_waits_for_the_gate_and_its_condition_is_on_an_unnamed_bool(compiled: dict[str, Any]) -> None:
    (condition,) = [task for name, task in _tasks(compiled).items() if name.startswith("condition")]
    assert condition["dependentTasks"] == ["evaluate", "finetune", "gate"]
    assert condition["triggerPolicy"]["condition"].endswith("== true")
    assert "gate-Output" in condition["triggerPolicy"]["condition"]


def test_the_report_runs_whatever_happened(compiled: dict[str, Any]) -> None:
    report = compiled["root"]["dag"]["tasks"]["report"]
    assert report["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_pre_training_waits_for_validation(compiled: dict[str, Any]) -> None:
    assert set(_tasks(compiled)["pretrain"]["dependentTasks"]) == {"fetch-data", "validate-data"}


def test_no_component_installs_anything(compiled: dict[str, Any]) -> None:
    for executor in compiled["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])
