"""The whole DAG through kfp.local, as `eve run` executes it: verdicts, reuse, and what is left behind.

The tests of this file build on each other and run in order: one workspace, run after run.
"""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from eve_core.config import RunConfig, load_config
from eve_core.registry.promotion import champion, history
from eve_core.report import RunSummary, collect
from tests.pipelines.conftest import write

pytestmark = pytest.mark.slow(minutes=6)


def _eve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "eve_core.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def _last_run(config: RunConfig) -> RunSummary:
    newest = max((config.workspace / "runs").iterdir(), key=lambda path: path.name)
    return collect(config.registry, newest.name)


def _versions(config: RunConfig, task: str) -> list[str]:
    client = MlflowClient(config.registry.tracking_uri, config.registry.tracking_uri)
    return [str(version.version) for version in client.search_model_versions(f"name='eve-{task}'")]


@pytest.fixture(scope="module")
def first(tiny_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, str]:
    """Data prepared and the pipeline run once; the config file, the config, and what was printed."""
    path = write(tiny_run, tmp_path_factory.mktemp("configs") / "tiny.yaml")
    prepared = _eve("data", "prepare", "--config", path)
    assert prepared.returncode == 0, prepared.stderr
    config = load_config(path)
    # The pipeline must read the pinned revision: what lies in the working folder is wrecked before it runs.
    manifest = Path(config.data.repository) / "data" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("wrecked")
    done = _eve("run", "--config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path, config, done.stdout


def test_without_a_champion_the_floors_decide(first: tuple[Path, RunConfig, str]) -> None:
    _, config, printed = first
    run = _last_run(config)
    assert {name: task.blessing["blessed"] for name, task in run.tasks.items() if task.blessing} == {
        "vqa": True,
        "nlvr2": True,
        "retrieval": False,
    }
    assert "no champion" in " ".join(check["sentence"] for check in run.tasks["vqa"].blessing["checks"])
    assert champion(config.registry, "vqa").version == "1"
    assert "refused" in printed
    assert "image_recall_at_1" in printed


def test_a_refused_model_is_neither_registered_nor_promoted(first: tuple[Path, RunConfig, str]) -> None:
    _, config, _ = first
    assert _versions(config, "retrieval") == []
    assert champion(config.registry, "retrieval") is None


def test_every_step_is_a_child_run_with_its_lineage(first: tuple[Path, RunConfig, str]) -> None:
    _, config, _ = first
    run = _last_run(config)
    assert {step.status for step in run.steps.values()} == {"FINISHED"}
    steps = run.steps
    assert steps["pretrain"].run_id in steps["finetune-vqa"].inputs
    assert steps["finetune-vqa"].run_id in steps["evaluate-vqa"].inputs
    client = MlflowClient(config.registry.tracking_uri)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    pretraining = client.get_run(steps["pretrain"].run_id)
    assert pretraining.data.params["pretraining.image_mask_ratio"] == "0.75"
    assert {"mlm", "mim", "load_balance"} <= set(pretraining.data.metrics)
    of_data = ("eve.data_revision", "eve.data_digest")
    parent = client.get_run(run.run_id).data.tags
    assert all(parent[tag] for tag in of_data)
    for name, found in steps.items():
        assert [found.tags.get(tag) for tag in of_data] == [parent[tag] for tag in of_data], name
    assert steps["validate-data"].run_id in steps["finetune-vqa"].inputs
    assert steps["gate-vqa"].tags["eve.git_revision"]


def test_the_report_shows_pictures_and_verdicts(first: tuple[Path, RunConfig, str]) -> None:
    _, config, _ = first
    page = (config.workspace / "runs" / _last_run(config).key / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 7
    assert "refused" in page
    assert "blessed" in page
    assert "http" not in page


def test_the_pages_are_in_mlflow(first: tuple[Path, RunConfig, str]) -> None:
    _, config, _ = first
    run = _last_run(config)
    client = MlflowClient(config.registry.tracking_uri)
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(run.run_id)}
    assert "model.html" in {artifact.path for artifact in client.list_artifacts(run.steps["gate-vqa"].run_id)}


def test_the_champion_answers_in_a_fresh_process(first: tuple[Path, RunConfig, str], tmp_path: Path) -> None:
    _, config, _ = first
    picture = next((config.workspace / "synthetic_world" / "coco" / "val2014").glob("*.jpg"))
    program = f"""
import json, mlflow, pandas
mlflow.set_tracking_uri({config.registry.tracking_uri!r})
model = mlflow.pyfunc.load_model("models:/eve-vqa@champion")
picture = open({str(picture)!r}, "rb").read()
rows = pandas.DataFrame({{"image": [picture], "question": ["how many shapes are there?"]}})
print(json.dumps(model.predict(rows)["answer"].tolist()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, str)
    assert answer


def test_a_second_run_reuses_everything_and_promotes_nothing_twice(first: tuple[Path, RunConfig, str]) -> None:
    path, config, _ = first
    before = {task: history(config.registry, task) for task in ("vqa", "nlvr2")}
    done = _eve("run", "--config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = _last_run(config)
    reused = {name for name, step in run.steps.items() if step.reused}
    assert {"fetch-data", "pretrain", "finetune-vqa", "evaluate-vqa", "finetune-retrieval"} <= reused
    assert not any(task.changed for task in run.tasks.values())
    assert {task: history(config.registry, task) for task in ("vqa", "nlvr2")} == before
    assert _versions(config, "vqa") == ["1"]
    assert "pretrain: reused" in done.stdout


def test_a_candidate_worse_than_the_champion_is_refused(
    first: tuple[Path, RunConfig, str], tiny_run: dict[str, Any], tmp_path: Path
) -> None:
    _, config, _ = first
    tree = copy.deepcopy(tiny_run)
    tree["tasks"] = {"vqa": tree["tasks"]["vqa"]}
    tree["tasks"]["vqa"]["finetuning"]["optimization"] |= {"steps": 1, "learning_rate": 1e-9}
    tree["tasks"]["vqa"]["gate"]["floors"] = [{"metric": "accuracy", "at_least": 0.0}]
    done = _eve("run", "--config", write(tree, tmp_path / "worse.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    task = _last_run(config).tasks["vqa"]
    assert task.champion_before == "1"
    assert task.blessing["blessed"] is False
    assert "champion" in " ".join(task.blessing["reasons"])
    assert task.blessing["champion_metrics"]["accuracy"] > task.blessing["metrics"]["accuracy"]
    assert champion(config.registry, "vqa").version == "1"
    assert _versions(config, "vqa") == ["1"]


def test_a_revision_that_does_not_exist_stops_the_run_with_a_sentence(
    first: tuple[Path, RunConfig, str], tiny_run: dict[str, Any], tmp_path: Path
) -> None:
    _, config, _ = first
    tree = copy.deepcopy(tiny_run)
    tree["data"]["revision"] = "no-such-tag"
    done = _eve("run", "--config", write(tree, tmp_path / "astray.yaml"))
    assert done.returncode == 1
    assert "resolve-data: data.revision 'no-such-tag'" in done.stderr
    run = _last_run(config)
    assert run.tasks == {}
    client = MlflowClient(config.registry.tracking_uri)
    assert client.get_run(run.run_id).info.status == "FAILED"
    assert champion(config.registry, "vqa").version == "1"


def test_retraining_runs_once_a_data_revision(first: tuple[Path, RunConfig, str]) -> None:
    path, config, _ = first
    runs = len(list((config.workspace / "runs").iterdir()))
    done = _eve("retrain", "--config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do" in done.stdout
    assert len(list((config.workspace / "runs").iterdir())) == runs
