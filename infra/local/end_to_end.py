"""The whole workflow on real servers on this machine: python -m infra.local.end_to_end [CONFIG]

PostgreSQL, an MLflow server on it with artifacts in an S3 server, a DVC remote there, and a Prefect server with a
worker. A schedule fires, the data comes by revision from S3, the DAG runs, somebody approves, and there is a champion.
Everything is below .eve/end_to_end; the servers end with the program.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from eve_core.config import load_config
from eve_core.errors import UserError
from infra.local.servers import HttpServer, Process, mlflow_server, postgres, prefect_server, prefect_worker, s3_server

_BUCKETS = ("eve-data", "eve-mlflow")
_KEYS = {"AWS_ACCESS_KEY_ID": "eve", "AWS_SECRET_ACCESS_KEY": "of-this-machine", "AWS_DEFAULT_REGION": "us-east-1"}
_HOURS = 2
_CRASHES = 3
_SECONDS_BETWEEN_LOOKS = 8


@dataclass(frozen=True)
class Place:
    """The servers."""

    folder: Path
    """For everything that they and the workflow write."""
    s3: HttpServer
    """Data and artifacts."""
    mlflow: HttpServer
    """Tracking and registry."""
    prefect: HttpServer
    """Schedules."""
    worker: Process
    """Runs the flows."""
    environment: dict[str, str]
    """Variables of everybody who uses them."""

    def eve(self, *arguments: str) -> str:
        """Run `eve ARGUMENTS`; what it prints.

        Raises:
            UserError: it failed.
        """
        command = [sys.executable, "-m", "eve_core.cli.main", *arguments]
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"`eve {' '.join(arguments)}` failed: {(done.stderr or done.stdout)[-2000:]}")
        return done.stdout


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Place]:
    """All of them, until the body ends.

    Raises:
        UserError: one does not start, or PostgreSQL is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as running:
        database = running.enter_context(postgres())
        s3 = running.enter_context(s3_server(folder))
        environment = {**_KEYS, "AWS_ENDPOINT_URL": s3.uri, "AWS_EC2_METADATA_DISABLED": "true"}
        _make_buckets(s3.uri)
        artifacts = {**environment, "MLFLOW_S3_ENDPOINT_URL": s3.uri}
        mlflow = running.enter_context(mlflow_server(folder, database, f"s3://{_BUCKETS[1]}/artifacts", artifacts))
        prefect = running.enter_context(prefect_server(folder))
        environment |= {"PREFECT_API_URL": f"{prefect.uri}/api", "PREFECT_HOME": str(folder / "prefect-client")}
        worker = prefect_worker(folder, f"{prefect.uri}/api", environment)
        running.callback(worker.stop)
        yield Place(folder, s3, mlflow, prefect, worker, environment)


def adapted(config: Path, place: Place) -> Path:
    """The config for these servers: looked at every minute, promoted after approval."""
    tree = {
        "base": str(config.absolute()),
        "workspace": str(place.folder / "workspace"),
        "data": {
            "repository": str(place.folder / "repository"),
            "commit": True,
            "remote": {"url": f"s3://{_BUCKETS[0]}/dvc", "endpoint": place.s3.uri},
        },
        "registry": {"tracking_uri": place.mlflow.uri, "approval": True},
        "schedule": {"cron": "* * * * *"},
    }
    path = place.folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run(config: Path, place: Place, tell: Callable[[str], None] = print) -> None:
    """Take `config` from its data to its champions.

    Raises:
        UserError: something failed.
    """
    path = adapted(config, place)
    name = load_config(path).name
    place.eve("data", "prepare", "--config", str(path))
    place.eve("data", "push", "--config", str(path))
    shutil.rmtree(place.folder / "repository" / ".dvc" / "cache", ignore_errors=True)  # from now on it is in S3 alone
    tell("the data is prepared, and its bytes are in S3 alone")
    place.worker.start()
    tell(place.eve("schedule", "apply", "--config", str(path)).strip())
    state = _wait(place, name, "waits for approval", tell)
    tell(state)
    tell(place.eve("schedule", "answer", name, "--reason", "the page looks right").strip())
    tell(place.eve("schedule", "pause", name).strip())
    tell(place.eve("champion", "show", "--config", str(path)).strip())


def _wait(place: Place, name: str, wanted: str, tell: Callable[[str], None]) -> str:
    """The line of `eve schedule list` about a config, as soon as it says what is wanted."""
    until, said = time.monotonic() + _HOURS * 3600, ""
    crashed: set[str] = set()
    while time.monotonic() < until:
        try:
            listed = place.eve("schedule", "list")
        except UserError as error:  # a server that is away for a while must not end the run, nor this
            tell(f"... {error}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            continue
        line = next(line for line in listed.splitlines() if line.startswith(f"{name}:"))
        last = line.partition("; last ")[2]
        if wanted in last:
            return line
        if "Crashed" in last:  # Prefect's server went away while the run started; the next minute's goes on
            crashed.add(last)
        if "Failed" in last or len(crashed) == _CRASHES:
            raise UserError(f"the run failed: {line}; its log is {place.worker.log}")
        if last != said:
            tell(f"... {last}")
            said = last
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UserError(f"after {_HOURS} hours it still is: {said}")


def _make_buckets(endpoint: str) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=_KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=_KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=_KEYS["AWS_DEFAULT_REGION"],
    )
    for bucket in _BUCKETS:
        client.create_bucket(Bucket=bucket)


def main(arguments: list[str]) -> None:
    """The demonstration, or another config."""
    config = Path(arguments[0]) if arguments else Path("configs/demo.yaml")
    folder = Path(".eve/end_to_end").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end, too
    with servers(folder) as place:
        print(
            f"MLflow {place.mlflow.uri}, Prefect {place.prefect.uri}, S3 {place.s3.uri}; logs in {folder}", flush=True
        )
        run(config, place, lambda text: print(text, flush=True))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
