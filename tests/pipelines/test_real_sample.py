"""The workflow on real files of the public sets, ending in verdicts that are true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eve_core.config import load_config
from eve_core.data.prepared import PreparedData
from eve_core.registry.promotion import champion
from eve_core.report import collect
from tests.pipelines.conftest import write

pytestmark = [pytest.mark.slow(minutes=4), pytest.mark.real_data]
_CONFIG = Path(__file__).parents[2] / "configs" / "real_sample.yaml"


def test_real_samples_go_through_and_a_tiny_model_is_refused(real_data: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(_CONFIG.read_text())
    tree["workspace"] = str(tmp_path / "eve")
    tree["data"]["repository"] = str(tmp_path / "repository")
    tree["registry"] = {
        "tracking_uri": f"sqlite:///{tmp_path / 'eve' / 'mlflow.db'}",
        "artifacts": str(tmp_path / "eve" / "mlflow-artifacts"),
    }
    tree["pretraining"]["optimization"]["steps"] = 10
    for task in tree["tasks"].values():
        task["finetuning"]["optimization"]["steps"] = 4
    tree["tasks"]["retrieval"]["evaluation"] = {"rerank": 1}
    path = write(tree, tmp_path / "real.yaml")
    environment = {**os.environ, "EVE_REAL_DATA": str(real_data), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def eve(*arguments: str) -> str:
        command = [sys.executable, "-m", "eve_core.cli.main", *arguments, "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = eve("data", "prepare")
    assert "6,974" in printed  # statements whose pictures are not there
    data = PreparedData.open(tmp_path / "repository" / "data")
    counts = {name: summary.counts for name, summary in data.manifest.sets.items()}
    assert sum(counts["coco_captions"].values()) == 1711
    assert counts["vqa_v2"] == {"train": 170, "val": 13}
    assert counts["nlvr2"] == {"dev": 8}
    assert data.manifest.sets["nlvr2"].quarantined["missing_picture"] == 6974
    assert sum(counts["flickr8k"].values()) == 866 * 5

    eve("run")
    config = load_config(path)
    (folder,) = (config.workspace / "runs").iterdir()
    run = collect(config.registry, folder.name)
    assert set(run.tasks) == {"vqa", "nlvr2", "retrieval"}
    for name, task in run.tasks.items():
        assert task.blessing is not None
        assert task.blessing["blessed"] is False, task.blessing
        assert champion(config.registry, name) is None
    assert run.tasks["nlvr2"].blessing["items"] == 4
    assert "4 items" in " ".join(run.tasks["nlvr2"].blessing["reasons"])
