"""The workflow on real servers, which go away for a while in the middle of it."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from eve_core.config import load_config
from eve_core.errors import UserError
from eve_core.registry.promotion import champion, history, verify
from infra.local.end_to_end import Place, adapted, run, servers
from tests.pipelines.conftest import write

pytestmark = pytest.mark.slow(minutes=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    try:
        with servers(tmp_path_factory.mktemp("servers")) as place, pytest.MonkeyPatch.context() as patch:
            for name, value in place.environment.items():
                patch.setenv(name, value)
            yield place
    except UserError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(str(error))


def _away(place: Place, gone: list[str]) -> None:
    """Take the servers away for a minute, once the run is there."""
    client = MlflowClient(place.mlflow.uri)
    while not (experiments := client.search_experiments(filter_string="name = 'eve'")) or not client.search_runs(
        [experiments[0].experiment_id], "tags.`eve.step` = 'validate-data'"
    ):
        time.sleep(0.5)
    assert place.s3.process is not None
    for server in (place.mlflow, place.prefect):
        server.stop()
    os.killpg(place.s3.process.pid, signal.SIGSTOP)  # what it holds is in its memory
    time.sleep(60)
    os.killpg(place.s3.process.pid, signal.SIGCONT)
    for server in (place.mlflow, place.prefect):
        server.start()
    gone += [server.name for server in (place.mlflow, place.prefect, place.s3)]


def test_a_schedule_fires_and_there_is_a_champion(place: Place, tiny_run: dict[str, Any], tmp_path: Path) -> None:
    tree = {**tiny_run, "tasks": {"nlvr2": tiny_run["tasks"]["nlvr2"]}}
    gone: list[str] = []
    trouble = threading.Thread(target=_away, args=(place, gone), daemon=True)
    trouble.start()
    said: list[str] = []
    run(write(tree, tmp_path / "tiny.yaml"), place, said.append)
    trouble.join(timeout=180)
    assert gone == ["mlflow", "prefect", "s3"]
    config = load_config(adapted(tmp_path / "tiny.yaml", place))
    (entry,) = history(config.registry, "nlvr2")
    assert (entry.to_version, entry.reason) == ("1", "approved: the page looks right")
    best = champion(config.registry, "nlvr2")
    assert best is not None
    assert best.version == "1"
    assert verify(config.registry, "nlvr2") == []
    # It fired every minute, and ran once.
    client = MlflowClient(place.mlflow.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'eve'")
    runs = client.search_runs([experiment.experiment_id], "tags.`eve.pipeline_run` LIKE 'tiny-%'")
    assert [one.info.status for one in runs] == ["FINISHED"]
    assert runs[0].data.tags["eve.data_revision"] == best.data_revision
    secret = place.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in str([one.to_dictionary() for one in client.search_runs([experiment.experiment_id])])
    for log in (*place.folder.glob("*.log"), *(place.folder / "workspace" / "runs").rglob("*.log")):
        assert secret not in log.read_text(errors="replace"), log
