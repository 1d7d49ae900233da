"""The registry on an MLflow server over PostgreSQL: real processes, really killed, really at once, really away."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eve_core.config.run import RegistryConfig
from eve_core.registry.models import aliases, register
from eve_core.registry.promotion import champion, history, promote, rollback, verify
from eve_core.registry.tracking import open_experiment

pytestmark = pytest.mark.slow

_STEP = """
import sys
from eve_core.config.run import RegistryConfig
from eve_core.errors import UserError
from eve_core.registry.promotion import promote, rollback

config = RegistryConfig.model_validate_json(sys.argv[1])
print("begun", flush=True)
try:
    if sys.argv[2] == "rollback":
        rollback(config, task="vqa", reason="it fails", serving_check=lambda *_: None)
    else:
        promote(config, task="vqa", version=sys.argv[2], reason="better", serving_check=lambda *_: None)
except UserError as error:
    sys.exit(f"refused: {error}")
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A database server of its own, as a user that is not root, which it would refuse."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    binaries = places[0] if places else Path(shutil.which("initdb") or "/").parent
    if not (binaries / "initdb").exists():
        pytest.skip("needs PostgreSQL (Debian: apt install postgresql)")
    folder = Path("/tmp") / f"eve-postgres-{os.getpid()}"  # its user has no way into pytest's folders
    folder.mkdir()
    user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd="/tmp")

    run(str(binaries / "initdb"), "--pgdata", f"{folder}/data", "--auth", "trust", "--username", "eve")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    control = [str(binaries / "pg_ctl"), "--pgdata", f"{folder}/data", "--wait"]
    run(*control, "--log", f"{folder}/log", "--options", options, "start")
    try:
        yield f"postgresql://eve@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "--mode", "immediate", "stop")
        shutil.rmtree(folder)


class Server:
    """An MLflow server that can be taken away and brought back."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "2"]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port), "--artifacts-destination", str(folder)]
        self._log = (folder.parent / "server.log").open("w")

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError("the MLflow server does not start")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow") / "artifacts"
    folder.mkdir()
    running = Server(postgres, folder)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def config(server, tmp_path):
    """A registry of its own on the server."""
    name = f"t{random.SystemRandom().randrange(10**9)}"
    return RegistryConfig(tracking_uri=server.uri, artifacts=None, experiment=name, model_prefix=name)


@pytest.fixture
def registered(config, make):
    def registered(weights: str, before: str | None = None) -> str:
        checkpoint, blessing = make(weights, before)
        requests = blessing.with_name("requests.parquet")
        return register(
            config, task="vqa", checkpoint=checkpoint, blessing=blessing, requests=requests, run_key="run-1"
        )

    return registered


@pytest.fixture
def start(config):
    """Begin a promotion, or a rollback, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(what: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _STEP, config.model_dump_json(), what]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def first(config, version):
    return promote(config, task="vqa", version=version, reason="the first", serving_check=lambda *_: None)


def aliases_of(config):
    return aliases(open_experiment(config), f"{config.model_prefix}-vqa")


def test_two_processes_at_once_leave_one_champion_and_a_whole_log(config, registered, start):
    first(config, registered("a"))
    versions = [registered(weights, "1") for weights in ("b", "c", "d")]
    running = [start(version) for version in versions]
    for process in running:
        process.stdout.readline()
    said = [process.communicate() for process in running]
    winners = [version for version, process in zip(versions, running, strict=True) if process.returncode == 0]
    assert len(winners) == 1, said
    refusals = [error for (_, error), process in zip(said, running, strict=True) if process.returncode]
    assert all("was compared with champion 1 but there is champion" in error for error in refusals), refusals
    assert [(entry.from_version, entry.to_version) for entry in history(config, "vqa")] == [
        (None, "1"),
        ("1", winners[0]),
    ]
    assert champion(config, "vqa").version == winners[0]
    assert verify(config, "vqa") == []


def test_killed_at_any_moment_and_run_again(config, registered, start):
    """Of promotions and rollbacks, eight in a row, each killed a little later than the one before."""
    versions = [registered(weights, None if weights == "a" else "1") for weights in ("a", "b")]
    first(config, versions[0])
    for number in range(8):
        what = versions[1] if number == 0 else "rollback"
        before = history(config, "vqa")
        process = start(what)
        process.stdout.readline()
        time.sleep(number * 0.09)
        process.kill()
        process.wait()
        entries = history(config, "vqa")
        assert len(entries) - len(before) in (0, 1)
        if len(entries) == len(before):  # nothing was decided yet: it is simply run again
            assert start(what).wait() == 0
        assert champion(config, "vqa").version == history(config, "vqa")[-1].to_version
        assert len(history(config, "vqa")) == len(before) + 1
        assert verify(config, "vqa") == []


def test_a_server_that_is_away_for_half_a_minute(config, server, registered, start):
    first(config, registered("a"))
    version = registered("b", "1")
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(lambda: (time.sleep(30), server.start()))
        process = start(version)
        status = process.wait()
        back.result()
    if status:
        error = process.stderr.read()
        assert "error" in error.lower() or "answer" in error
        assert start(version).wait() == 0
    assert aliases_of(config) == {"champion": version, "previous_champion": "1"}
    assert len(history(config, "vqa")) == 2
    assert verify(config, "vqa") == []


def test_a_rollback_over_http(config, registered):
    first(config, registered("a"))
    promote(config, task="vqa", version=registered("b", "1"), reason="better", serving_check=lambda *_: None)
    rollback(config, task="vqa", reason="it fails", serving_check=lambda *_: None)
    assert aliases_of(config) == {"champion": "1", "previous_champion": "2"}
    assert [entry.kind for entry in history(config, "vqa")] == ["promotion", "promotion", "rollback"]
