"""Where a revision stands, in words."""

import shutil
import socket
from pathlib import Path

import pytest

from eve_core.config import DataConfig
from eve_core.config.data import RemoteConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.versioning import network
from eve_core.data.versioning.status import data_status
from tests.data.versioning.conftest import damage, git, objects, write_prepared


def test_all_is_well(config: DataConfig, two: list[str], repository: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared-second"
    assert data_status(config, prepared) == {
        "revision": f"HEAD is commit {two[1]} of {repository}",
        "pinned there": f"data.dvc, md5 {git(repository, 'show', 'HEAD:data.dvc').split('md5: ')[1].split()[0]}",
        "pinned in the working folder": "the same",
        "cache": "has all 3 files",
        "remote": f"has all 3 files ({repository / '.dvc-remote'})",
        "digest": PreparedData.open(prepared).digest,
        "prepared folder": f"{prepared} is this revision",
    }


def test_what_is_missing_is_counted(config: DataConfig, two: list[str], repository: Path, tmp_path: Path) -> None:
    for shard in objects(repository / ".dvc-remote", b"PAR1"):
        shard.unlink()
    status = data_status(config, tmp_path / "prepared-second")
    assert status["remote"].startswith("lacks 1 of 3 files")
    shutil.rmtree(repository / ".dvc-remote")
    shutil.rmtree(repository / ".dvc" / "cache")
    status = data_status(config, tmp_path / "prepared-second")
    assert "nor on its remote" in status["digest"]
    assert status["prepared folder"].endswith("is this revision")


def test_the_prepared_folder_is_looked_into(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    def words(prepared: Path) -> str:
        return data_status(config, prepared)["prepared folder"]

    assert words(tmp_path / "nowhere").endswith("holds no prepared data")
    other = write_prepared(tmp_path / "other", "third")
    assert words(other).endswith(f"holds other data, digest {PreparedData.open(other).digest}")
    prepared = tmp_path / "prepared-second"
    (prepared / "notes.txt").touch()
    assert words(prepared).endswith("holds this data and other files")
    (shard,) = prepared.rglob("*.parquet")
    damage(shard)
    assert "was changed since it was prepared: shard" in words(prepared)


def test_a_pin_that_is_not_committed_is_said(config: DataConfig, two: list[str], repository: Path) -> None:
    pin = repository / "data.dvc"
    pin.write_text(git(repository, "show", "v1:data.dvc"))
    assert data_status(config, repository / "data")["pinned in the working folder"].startswith("another: md5 ")
    pin.unlink()
    assert data_status(config, repository / "data")["pinned in the working folder"] == "data.dvc is not there"


def test_a_remote_that_does_not_answer_is_a_sentence(
    config: DataConfig, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-a-secret")
    monkeypatch.setattr(network, "WAITS", ())
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        remote = RemoteConfig(url="s3://bucket/eve", endpoint=f"http://127.0.0.1:{reserved.getsockname()[1]}")
        status = data_status(config.model_copy(update={"remote": remote}), tmp_path / "prepared-second")
    assert "the remote does not answer" in status["remote"]
    assert status["cache"] == "has all 3 files"


def test_a_repository_without_a_remote(config: DataConfig, two: list[str], repository: Path, tmp_path: Path) -> None:
    (repository / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    status = data_status(config, tmp_path / "prepared-second")
    assert "no remote specified" in status["remote"]
    assert status["prepared folder"].endswith("is this revision")
