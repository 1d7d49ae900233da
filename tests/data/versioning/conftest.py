"""A data repository with two revisions, apart from this machine's settings and network."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import DataConfig
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.prepared import PreparedData
from eve_core.data.shards import ShardWriter
from eve_core.data.versioning import DataRevision, publish, resolve_revision


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_this_machine(monkeypatch, tmp_path)


def forget_this_machine(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """No settings of this machine, no index of another test's data, no network but loopback."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if not (isinstance(address, tuple) and address[0] == "127.0.0.1"):
            raise AssertionError(f"a connection to {address} was attempted")
        connect(self, address)

    patch.setattr(socket.socket, "connect", refuse)
    for name in [name for name in os.environ if name.startswith(("GIT_", "AWS_"))]:
        patch.delenv(name)
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("CONFIG", "SHARED_CREDENTIALS"):
        patch.setenv(f"AWS_{name}_FILE", str(folder / "none"))
    for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR"):
        patch.setenv(f"DVC_{name}", str(folder / "dvc-settings"))


def write_prepared(folder: Path, captions: str | dict[str, str], left_out: dict[str, int] | None = None) -> Path:
    """A prepared folder with captions by identifier."""
    texts = {"1": captions} if isinstance(captions, str) else captions
    with ShardWriter(folder, "captions", "flickr8k", "train") as writer:
        for number, text in texts.items():
            writer.write({"caption_id": number, "image_id": f"flickr8k/{number}", "caption": text, "split": "train"})
    numbers = SetSummary(counts={"train": len(texts)}, quarantined=left_out or {})
    Manifest(shards=tuple(writer.shards), sets={"flickr8k": numbers}).write(folder)
    return folder


def publish_on_main(folder: Path) -> Path:
    """A repository below a folder, with a data revision on main."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "dvc"))
        publish(DataConfig(repository=str(folder / "repository"), commit=True), write_prepared(folder / "new", "a dog"))
    git(folder / "repository", "branch", "--move", "main")
    return folder / "repository"


def caption_in(folder: Path) -> str:
    return str(PreparedData.open(folder).table("captions")["caption"][0].as_py())


def git(repository: Path, *arguments: str) -> str:
    author = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    done = subprocess.run(["git", *author, *arguments], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at(config: DataConfig, revision: str) -> DataRevision:
    return resolve_revision(config.model_copy(update={"revision": revision}))


def objects(store: Path, start: bytes = b"") -> list[Path]:
    """The files of a DVC cache, or of a folder as remote, that begin with `start`."""
    found = [path for path in (store / "files" / "md5").rglob("*") if path.is_file()]
    return [path for path in found if path.read_bytes().startswith(start)]


def damage(file: Path) -> None:
    """Change a byte in the middle."""
    mode = file.stat().st_mode
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    file.chmod(mode)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(repository=str(tmp_path / "repository"), commit=True)


@pytest.fixture
def repository(config: DataConfig) -> Path:
    return Path(config.repository)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two revisions, `first` (tag v1) and `second` (branch main), and the folders of both."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        forget_this_machine(patch, folder)
        for caption, after in (("first", ("tag", "v1")), ("second", ("branch", "--move", "main"))):
            prepared = write_prepared(folder / f"prepared-{caption}", caption)
            publish(DataConfig(repository=str(folder / "repository"), commit=True), prepared)
            git(folder / "repository", *after)
    return folder


@pytest.fixture
def two(template: Path, tmp_path: Path) -> list[str]:
    """The commits of both, in a repository of the test's own."""
    for name in ("repository", "prepared-first", "prepared-second"):
        shutil.copytree(template / name, tmp_path / name)
    return [git(tmp_path / "repository", "rev-parse", revision) for revision in ("v1", "main")]
