"""Promotions that crash and race, on SQLite and on an MLflow server over PostgreSQL: real processes, really killed,
really at once, and a server that is really away.
"""

import contextlib
import itertools
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eve_core.config.run import RegistryConfig
from eve_core.errors import UserError
from eve_core.registry.models import aliases
from eve_core.registry.promotion import champion, history, promote, rollback, verify
from eve_core.registry.tracking import open_experiment
from infra.local.servers import mlflow_server, postgres
from tests.processes import Forked
from tests.registry.conftest import config_in

pytestmark = pytest.mark.slow(minutes=4)


def _step(config: RegistryConfig, what: str, begun: Path, cold: bool) -> int:
    if not cold:
        open_experiment(config)  # what a process does once is not what is tested
    begun.touch()
    try:
        if what == "rollback":
            rollback(config, task="vqa", reason="it fails", serving_check=lambda *_: None)
        elif what.startswith("back to "):
            rollback(config, task="vqa", reason="it was right", to=what[-1], serving_check=lambda *_: None)
        else:
            promote(config, task="vqa", version=what, reason="better", serving_check=lambda *_: None)
    except UserError as error:
        print(f"refused: {error}")
        return 1
    return 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "artifacts").mkdir()
    with contextlib.ExitStack() as servers:
        try:
            database = servers.enter_context(postgres())
        except UserError as error:
            pytest.skip(str(error))
        yield servers.enter_context(mlflow_server(folder, database, str(folder / "artifacts")))


@pytest.fixture
def on_server(server):
    """A registry of its own on the server."""
    name = f"t{random.SystemRandom().randrange(10**9)}"
    return RegistryConfig(tracking_uri=server.uri, artifacts=None, experiment=name, model_prefix=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request, tmp_path, fresh_database):
    """A registry in a SQLite file, and one on the server."""
    if request.param == "postgresql":
        return request.getfixturevalue("on_server")
    shutil.copyfile(fresh_database, tmp_path / "mlflow.db")
    return config_in(tmp_path)


@pytest.fixture
def start(config, tmp_path):
    """Begin a promotion, or a rollback, in a process of its own; once it has begun, it is given with its output."""
    numbers = itertools.count()

    def start(what: str, *, cold: bool = False) -> tuple[Forked, Path]:
        begun = tmp_path / f"begun-{next(numbers)}"
        process = Forked(_step, config, what, begun, cold, output=(output := begun.with_suffix(".txt")))
        while not begun.exists() and process.poll() is None:
            time.sleep(0.001)
        return process, output

    return start


def first(config, version):
    return promote(config, task="vqa", version=version, reason="the first", serving_check=lambda *_: None)


def aliases_of(config):
    return aliases(open_experiment(config), f"{config.model_prefix}-vqa")


def test_two_processes_at_once_leave_one_champion_and_a_whole_log(config, registered, start):
    first(config, registered("a"))
    versions = [registered(weights, "1") for weights in ("b", "c", "d")]
    with ThreadPoolExecutor(len(versions)) as pool:
        running = [*pool.map(start, versions)]
    statuses = [process.wait() for process, _ in running]
    said = [output.read_text() for _, output in running]
    winners = [version for version, status in zip(versions, statuses, strict=True) if status == 0]
    assert len(winners) == 1, said
    refusals = [text for text, status in zip(said, statuses, strict=True) if status]
    assert all("was compared with champion 1 but there is champion" in error for error in refusals), refusals
    assert [(entry.from_version, entry.to_version) for entry in history(config, "vqa")] == [
        (None, "1"),
        ("1", winners[0]),
    ]
    assert champion(config, "vqa").version == winners[0]
    assert verify(config, "vqa") == []


def test_killed_at_any_moment_and_run_again(config, registered, start):
    """Of promotions and rollbacks, six in a row, each killed a little later than the one before."""
    versions = [registered(weights, None if weights == "a" else "1") for weights in ("a", "b")]
    began = time.monotonic()
    first(config, versions[0])
    length = time.monotonic() - began
    for number, what in enumerate([versions[1], "rollback", "back to 2", "back to 1", "back to 2", "back to 1"]):
        before = history(config, "vqa")
        process, _ = start(what)
        time.sleep(number / 5 * length)
        process.kill()
        entries = history(config, "vqa")
        assert len(entries) - len(before) in (0, 1)
        assert start(what)[0].wait() == 0  # whatever was done of it, it is simply run again
        assert champion(config, "vqa").version == history(config, "vqa")[-1].to_version
        assert len(history(config, "vqa")) == len(before) + 1
        assert verify(config, "vqa") == []


@pytest.mark.parametrize("config", ["postgresql"], indirect=True)
def test_a_server_that_is_away_for_half_a_minute(config, server, registered, start):
    first(config, registered("a"))
    version = registered("b", "1")
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(lambda: (time.sleep(30), server.start()))
        process, output = start(version, cold=True)
        status = process.wait()
        back.result()
    if status:
        error = output.read_text()
        assert "error" in error.lower() or "answer" in error
        assert start(version)[0].wait() == 0
    assert aliases_of(config) == {"champion": version, "previous_champion": "1"}
    assert len(history(config, "vqa")) == 2
    assert verify(config, "vqa") == []


@pytest.mark.parametrize("config", ["postgresql"], indirect=True)
def test_a_rollback_over_http(config, registered):
    first(config, registered("a"))
    promote(config, task="vqa", version=registered("b", "1"), reason="better", serving_check=lambda *_: None)
    rollback(config, task="vqa", reason="it fails", serving_check=lambda *_: None)
    assert aliases_of(config) == {"champion": "1", "previous_champion": "2"}
    assert [entry.kind for entry in history(config, "vqa")] == ["promotion", "promotion", "rollback"]
