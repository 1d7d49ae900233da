"""A remote on an S3 server: a real one on loopback, which fails where a test wants it to."""

import re
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from eve_core.config import DataConfig
from eve_core.config.data import RemoteConfig
from eve_core.data.manifest import Manifest
from eve_core.data.shards import ShardWriter
from eve_core.data.versioning import fetch, network, publish, push
from eve_core.data.versioning.diff import compare_revisions
from eve_core.errors import UserError
from tests.data.versioning.conftest import at, caption_in, contents, write_prepared

SECRET = "not-a-secret"
FILES = 3
"""Of a revision: the list of its files, the manifest, one shard."""


class Server:
    """Moto behind a layer that may refuse requests.

    Attributes:
        failing: for each next request (method, path): None to let it pass, "drop" to close its connection, or a status.
        passed: the requests that it let pass.
        bytes_sent: what it answered to GET, by path.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._moto = DomainDispatcherApplication(create_backend_app)
        self.reset()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.failing: Callable[[str, str], str | None] = lambda method, path: None
        self.passed: list[tuple[str, str]] = []
        self.bytes_sent: Counter[str] = Counter()

    def fail_first(self, times: int, how: str) -> None:
        """Fail the next requests and let later ones pass."""
        left = [how] * times
        self.failing = lambda method, path: left.pop() if left else None

    def sent(self, method: str) -> list[str]:
        return [path for known, path in self.passed if known == method and "/md5/" in path]

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        how = self.failing(method, path)
        if how is None:
            self.passed.append((method, path))
            answer = list(self._moto(environ, start_response))
            if method == "GET":
                self.bytes_sent[path] += sum(map(len, answer))
            return answer
        if how == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        start_response(how if how != "drop" else "500 dropped", [("Content-Type", "application/xml")])
        code = {"403": "AccessDenied", "503": "SlowDown"}.get(how[:3], "InternalError")
        return [f"<Error><Code>{code}</Code><Message>{how}</Message></Error>".encode()]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    running.reset()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setattr(network, "WAITS", (0.0, 0.01, 0.01, 0.01))
    return running


@pytest.fixture
def remote(server: Server, tmp_path: Path) -> RemoteConfig:
    bucket = re.sub(r"\W+", "-", tmp_path.name.lower()).replace("_", "-").strip("-")[-40:].strip("-")
    urlopen(Request(f"{server.url}/{bucket}", method="PUT")).close()
    return RemoteConfig(url=f"s3://{bucket}/eve", endpoint=server.url)


@pytest.fixture
def elsewhere(config: DataConfig, two: list[str], repository: Path, remote: RemoteConfig) -> RemoteConfig:
    """The remote with revision main on it, which is nowhere else."""
    push(at(config, "main"), remote)
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / ".dvc-remote")
    return remote


def test_data_is_pushed_once_and_pulled_elsewhere(
    config: DataConfig, two: list[str], repository: Path, server: Server, remote: RemoteConfig, tmp_path: Path
) -> None:
    assert push(at(config, "main"), remote) == FILES
    assert server.sent("PUT")[-1].endswith(".dir")  # where the list of files is, the files are
    server.reset()
    assert push(at(config, "main"), remote) == 0
    assert server.sent("PUT") == []
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / ".dvc-remote")
    fetch(at(config, "main"), tmp_path / "fetched", remote)
    assert contents(tmp_path / "fetched") == contents(tmp_path / "prepared-second")


def test_publishing_pushes_to_the_configured_remote(
    config: DataConfig, repository: Path, remote: RemoteConfig, tmp_path: Path
) -> None:
    publish(config.model_copy(update={"remote": remote}), write_prepared(tmp_path / "prepared", "once"))
    shutil.rmtree(repository / ".dvc" / "cache")
    fetch(at(config, "HEAD"), tmp_path / "fetched", remote)
    assert caption_in(tmp_path / "fetched") == "once"


def test_credentials_are_in_no_file_and_no_line(
    config: DataConfig,
    two: list[str],
    repository: Path,
    server: Server,
    remote: RemoteConfig,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.failing = lambda method, path: "403 Forbidden" if method == "PUT" else None
    with pytest.raises(UserError) as refusal:
        push(at(config, "main"), remote)
    server.reset()
    push(at(config, "main"), remote)
    shown = capfd.readouterr()
    assert SECRET not in str(refusal.value) + shown.out + shown.err
    assert not [name for name, content in contents(repository).items() if SECRET.encode() in content]


@pytest.mark.parametrize("how", ["drop", "500 Internal Server Error", "503 Slow Down"])
def test_a_remote_that_fails_twice_and_then_works(
    how: str,
    config: DataConfig,
    elsewhere: RemoteConfig,
    server: Server,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.fail_first(2, how)
    fetch(at(config, "main"), tmp_path / "fetched", elsewhere)
    assert caption_in(tmp_path / "fetched") == "second"
    lines = re.findall(r"the remote failed \(.+\); trying again in \S+ s", capfd.readouterr().err)
    assert len(lines) == 2 or (how == "drop" and lines)  # aiohttp repeats a request once on a closed connection


def test_a_push_that_is_cut_off_goes_on_where_it_was(
    config: DataConfig, two: list[str], server: Server, remote: RemoteConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    first: list[str] = []

    def only_one_file(method: str, path: str) -> str | None:
        if method != "PUT" or (first and path not in first):
            return "drop" if method == "PUT" else None
        first.append(path)
        return None

    server.failing = only_one_file
    with pytest.raises(UserError, match=r"^pushing data revision .*: the remote does not answer \(.*run the same"):
        push(at(config, "main"), remote)
    assert capfd.readouterr().err.count("trying again") == len(network.WAITS)
    server.reset()
    assert push(at(config, "main"), remote) == FILES - 1
    assert len(server.sent("PUT")) == FILES - 1


def test_a_pull_that_is_cut_off_goes_on_where_it_was(
    config: DataConfig, elsewhere: RemoteConfig, server: Server, tmp_path: Path
) -> None:
    brought: list[str] = []

    def only_one_file(method: str, path: str) -> str | None:
        if method != "GET" or path.endswith(".dir") or "/md5/" not in path:
            return None
        if not brought or path in brought:
            brought.append(path)
            return None
        return "drop"

    server.failing = only_one_file
    with pytest.raises(UserError, match=r"^fetching data revision .*: the remote does not answer"):
        fetch(at(config, "main"), tmp_path / "fetched", elsewhere)
    assert not (tmp_path / "fetched").exists()
    server.reset()
    fetch(at(config, "main"), tmp_path / "fetched", elsewhere)
    assert caption_in(tmp_path / "fetched") == "second"
    assert not {*brought} & {*server.sent("GET")}


def test_a_server_that_is_not_there(config: DataConfig, two: list[str], server: Server) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(UserError, match="the remote does not answer"):
            push(at(config, "main"), RemoteConfig(url="s3://bucket/eve", endpoint=endpoint))


def test_missing_credentials_refused_credentials_and_a_missing_bucket(
    config: DataConfig, two: list[str], server: Server, remote: RemoteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = RemoteConfig(url="s3://no-such-bucket/eve", endpoint=remote.endpoint)
    with pytest.raises(UserError, match="bucket does not exist"):
        push(at(config, "main"), nowhere)
    server.failing = lambda method, path: "403 Forbidden"
    with pytest.raises(UserError, match=r"the remote refuses access .* check AWS_ACCESS_KEY_ID"):
        push(at(config, "main"), remote)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        push(at(config, "main"), remote)


def test_a_revision_whose_files_the_remote_lacks(
    config: DataConfig, elsewhere: RemoteConfig, two: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"at commit {two[0][:12]} .* nor on its remote"):
        fetch(at(config, "v1"), tmp_path / "fetched", elsewhere)
    with pytest.raises(UserError, match=f"at commit {two[0][:12]} .* nor on its remote"):
        push(at(config, "v1"), elsewhere)
    assert not (tmp_path / "fetched").exists()


def test_a_comparison_does_not_download_pictures(
    config: DataConfig, server: Server, remote: RemoteConfig, repository: Path, tmp_path: Path
) -> None:
    picture = bytes(100_000)

    def prepared(name: str, count: int) -> Path:
        with ShardWriter(tmp_path / name, "images", "flickr8k") as images:
            for number in range(count):
                fields = {"file_name": "a", "width": 1, "height": 1, "format": "PNG", "mode": "RGB", "phash": bytes(32)}
                images.write(
                    {"image_id": f"flickr8k/{number}", **fields, "sha256": "a", "coco_id": None, "bytes": picture}
                )
        Manifest(tuple(images.shards)).write(tmp_path / name)
        return tmp_path / name

    on_remote = config.model_copy(update={"remote": remote})
    commits = [publish(on_remote, prepared(name, count)) for name, count in (("few", 20), ("more", 21))]
    shutil.rmtree(repository / ".dvc" / "cache")
    server.reset()
    (pictures,) = compare_revisions(on_remote, *commits).tables
    assert pictures.rows is not None
    assert pictures.rows.added == ["flickr8k/20"]
    assert server.bytes_sent.total() < 5 * len(picture)
