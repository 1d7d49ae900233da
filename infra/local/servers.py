"""The servers that the workflow speaks to, real ones on loopback: PostgreSQL, S3, MLflow, Prefect."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from eve_core.errors import UserError

_SECONDS_TO_START = 120


class Process:
    """A process that can be taken away and brought back.

    Args:
        name: names it in errors, and its log in `folder`.
        command: what is run.
        folder: where its log is written.
        environment: variables besides those of this process.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [*command]
        self._environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            environment = {**os.environ, **self._environment}
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def stop(self) -> None:
        """Kill it, with all its workers."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


class HttpServer(Process):
    """A process that answers HTTP on loopback, at `uri`.

    Args:
        name: see `Process`.
        command: see `Process`; "{port}" in it becomes the port.
        folder: see `Process`.
        health: path that it answers as soon as it works.
        environment: see `Process`.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, health: str, environment: Mapping[str, str] | None = None
    ) -> None:
        port = str(free_port())
        super().__init__(name, [part.replace("{port}", port) for part in command], folder, environment)
        self.uri = f"http://127.0.0.1:{port}"
        self._health = health

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            UserError: it does not within two minutes.
        """
        super().start()
        until = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < until and not self.ended():
            try:
                urllib.request.urlopen(self.uri + self._health, timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise UserError(f"the {self.name} server does not start; it says why in {self.log}")


def mlflow_server(
    folder: Path, database: str, artifacts: str, environment: Mapping[str, str] | None = None
) -> HttpServer:
    """MLflow, which hands artifacts on, so that its clients need no credentials.

    Args:
        folder: for its log.
        database: address of its database.
        artifacts: folder, or s3://bucket/prefix, of artifacts.
        environment: credentials and endpoint of an S3 server.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"]
    command += ["--backend-store-uri", database, "--artifacts-destination", artifacts]
    # Its four processes for jobs of language models' traces do nothing for a registry.
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
    return HttpServer("mlflow", command, folder, "/health", settings)


def s3_server(folder: Path) -> HttpServer:
    """A server that speaks S3 and keeps everything in memory; it takes any credentials."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]
    return HttpServer("s3", command, folder, "/moto-api/")


def prefect_server(folder: Path) -> HttpServer:
    """Prefect's API, with its database in `folder`."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", "{port}", "--no-ui"]
    settings = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return HttpServer("prefect", command, folder, "/api/health", settings)


def prefect_worker(folder: Path, api: str, environment: Mapping[str, str] | None = None, pool: str = "eve") -> Process:
    """What runs the flows that Prefect's server hands out, as processes.

    Args:
        folder: for its log.
        api: address of the API.
        environment: what the flows need.
        pool: the work pool whose flows it runs.
    """
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    settings = {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "worker"), **(environment or {})}
    return Process("prefect-worker", command, folder, settings)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own; the address of its database, for SQLAlchemy.

    Raises:
        UserError: PostgreSQL is not installed.
    """
    binaries = _postgres_binaries()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to be run by root
    folder = Path(tempfile.mkdtemp(prefix="eve-postgres-"))
    if user:
        shutil.chown(folder, "postgres")
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd=folder)

    try:
        run(f"{binaries}/initdb", "--pgdata", f"{folder}/data", "--auth", "trust", "--username", "eve")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        control = [f"{binaries}/pg_ctl", "--pgdata", f"{folder}/data", "--wait"]
        run(*control, "--log", f"{folder}/log", "--options", options, "start")
        try:
            yield f"postgresql+psycopg://eve@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _postgres_binaries() -> Path:
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found += [Path(path).parent for path in [shutil.which("initdb")] if path]
    if not found or not (found[0] / "initdb").exists():
        raise UserError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    return found[0]
