"""A pipeline run whose processes are killed, and is started again until it is through."""

import copy
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from eve_core.config import load_config
from eve_core.registry.promotion import champion, history, verify
from eve_core.report import collect
from tests.pipelines.conftest import write

pytestmark = pytest.mark.slow(minutes=3)
KILLED_IN = ("pretrain", "evaluate-nlvr2", "register-nlvr2", "promote-nlvr2")


def test_killed_in_one_step_after_the_other_and_started_again(tiny_run: dict[str, Any], tmp_path: Path) -> None:
    tree = copy.deepcopy(tiny_run)
    tree["tasks"] = {"nlvr2": tree["tasks"]["nlvr2"]}
    tree["data"]["repository"] = str(tmp_path / "repository")
    tree["workspace"] = str(tmp_path / "eve")
    tree["registry"] = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "artifacts": str(tmp_path / "artifacts")}
    path = write(tree, tmp_path / "config.yaml")
    command = [sys.executable, "-m", "eve_core.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "data", "prepare", "--config", path], check=True, capture_output=True, env=environment)
    moments = random.Random(5)
    runs = tmp_path / "eve" / "runs"
    for step in KILLED_IN:
        process = subprocess.Popen(
            [*command, "run", "--config", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        before = {*runs.iterdir()} if runs.exists() else set()
        while not any((new / f"{step}.log").exists() for new in {*runs.glob("*")} - before):
            assert process.poll() is None, f"the run ended before {step}"
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command, "run", "--config", path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr

    config = load_config(path)
    assert "pretrain: reused" in done.stdout
    client = MlflowClient(config.registry.tracking_uri, config.registry.tracking_uri)
    assert [version.version for version in client.search_model_versions("name='eve-nlvr2'")] == [1]
    assert [(entry.from_version, entry.to_version) for entry in history(config.registry, "nlvr2")] == [(None, "1")]
    best = champion(config.registry, "nlvr2")
    assert best is not None
    assert verify(config.registry, "nlvr2") == []
    last = collect(config.registry, max(runs.iterdir()).name)
    assert {step.status for step in last.steps.values()} == {"FINISHED"}
    assert last.tasks["nlvr2"].blessing is not None
    assert last.tasks["nlvr2"].blessing["model_digest"] == best.model_digest
