import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eve_core.config import DataConfig
from eve_core.data import versioning
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.prepared import PreparedData
from eve_core.data.shards import ShardWriter
from eve_core.data.versioning import DataRevision, fetch, publish, resolve_revision
from eve_core.errors import UserError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of this machine, no index of another test's data, no network."""

    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR"):
        monkeypatch.setenv(f"DVC_{name}", str(tmp_path / "dvc-settings"))


def write_prepared(folder: Path, caption: str) -> Path:
    with ShardWriter(folder, "captions", "flickr8k", "train") as writer:
        writer.write({"caption_id": "1", "image_id": "flickr8k/1", "caption": caption, "split": "train"})
    Manifest(shards=tuple(writer.shards), sets={"flickr8k": SetSummary(counts={"train": 1})}).write(folder)
    return folder


def caption_in(folder: Path) -> str:
    return str(PreparedData.open(folder).table("captions")["caption"][0].as_py())


def git(repository: Path, *arguments: str) -> str:
    author = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    done = subprocess.run(["git", *author, *arguments], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(repository=str(tmp_path / "repository"), commit=True)


@pytest.fixture
def two(config: DataConfig, tmp_path: Path) -> list[str]:
    """Commits of a repository with two revisions, `first` (tag v1) and `second` (branch main)."""
    commits = []
    for caption in ("first", "second"):
        prepared = write_prepared(tmp_path / f"prepared-{caption}", caption)
        commits.append(publish(config, prepared))
    git(Path(config.repository), "branch", "--move", "main")
    git(Path(config.repository), "tag", "v1", commits[0])
    return commits


def at(config: DataConfig, revision: str) -> DataRevision:
    return resolve_revision(config.model_copy(update={"revision": revision}))


# Resolving.


def test_a_revision_is_a_branch_a_tag_a_short_hash_or_head(config: DataConfig, two: list[str]) -> None:
    first, second = two
    assert first != second
    assert at(config, "v1") == at(config, first[:8]) == at(config, first) == at(config, "HEAD~1")
    assert at(config, "main") == at(config, "HEAD")
    assert at(config, "v1").commit == first
    assert at(config, "main").commit == second
    assert at(config, "v1").dvc_md5 != at(config, "main").dvc_md5
    assert at(config, "main").dvc_md5 in (Path(config.repository) / "data.dvc").read_text()
    assert at(config, "main").repository == config.repository


def test_what_is_not_committed_is_not_the_revision(config: DataConfig, two: list[str]) -> None:
    pin = Path(config.repository) / "data.dvc"
    before = at(config, "HEAD")
    pin.write_text(pin.read_text().replace(before.dvc_md5, "0" * 32 + ".dir"))
    assert at(config, "HEAD") == before


def test_a_url_is_resolved_like_the_repository_behind_it(config: DataConfig, two: list[str]) -> None:
    url = Path(config.repository).as_uri()
    revision = resolve_revision(config.model_copy(update={"repository": url, "revision": "v1"}))
    assert revision == DataRevision(url, "data", two[0], at(config, "v1").dvc_md5)


@pytest.mark.parametrize("revision", ["v2", "", "-q", "main:data.dvc", "f" * 40])
def test_an_unknown_revision_is_named_with_how_to_list_them(config: DataConfig, two: list[str], revision: str) -> None:
    with pytest.raises(UserError, match=r"is no commit, tag or branch of .*repository; `git -C .* -- data.dvc` lists"):
        at(config, revision)


def test_a_revision_without_the_dvc_file_is_refused(config: DataConfig, two: list[str]) -> None:
    with pytest.raises(UserError, match=r"other/set.dvc is not in revision main"):
        resolve_revision(config.model_copy(update={"path": "other/set", "revision": "main"}))


@pytest.mark.parametrize("path", ["/data", "../data", "."])
def test_a_path_outside_the_repository_is_refused(config: DataConfig, two: list[str], path: str) -> None:
    with pytest.raises(UserError, match=r"must name a folder inside data.repository"):
        resolve_revision(config.model_copy(update={"path": path}))


def test_repositories_that_are_none(tmp_path: Path, config: DataConfig, two: list[str]) -> None:
    (tmp_path / "plain").mkdir()
    (Path(config.repository) / "folder").mkdir()
    for repository, problem in [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "plain", "is no Git repository"),
        (Path(config.repository) / "folder", f"is a folder inside the Git repository {config.repository}"),
        ((tmp_path / "nowhere").as_uri(), "cannot be read"),
    ]:
        with pytest.raises(UserError, match=problem):
            resolve_revision(DataConfig(repository=str(repository)))
    git(tmp_path / "plain", "init")
    with pytest.raises(UserError, match="'HEAD' is no commit"):
        resolve_revision(DataConfig(repository=str(tmp_path / "plain")))


def test_resolving_a_local_repository_does_not_import_dvc(config: DataConfig, two: list[str]) -> None:
    code = (
        "import sys; from eve_core.config import DataConfig; from eve_core.data.versioning import resolve_revision\n"
        f"print(resolve_revision(DataConfig(repository={config.repository!r})).commit)\n"
        "sys.exit('dvc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == two[1]


# Fetching.


def test_fetch_brings_the_pinned_bytes_from_cache_or_remote(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    assert fetch(at(config, "v1"), tmp_path / "one") == tmp_path / "one"
    assert contents(tmp_path / "one") == contents(tmp_path / "prepared-first")
    shutil.rmtree(Path(config.repository) / ".dvc" / "cache")
    fetch(at(config, "main"), tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "prepared-second")
    fetch(at(config, "v1"), tmp_path / "three", remote="local")
    assert contents(tmp_path / "three") == contents(tmp_path / "prepared-first")


def test_fetch_does_not_read_the_working_folder(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    working = Path(config.repository) / "data"
    (working / "manifest.json").write_text("changed by hand")
    (working / "stray.txt").write_text("not pinned")
    fetch(at(config, "main"), tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "prepared-second")
    shutil.rmtree(working)
    fetch(at(config, "main"), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "prepared-second")


def test_fetch_from_a_url(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    repository = Path(config.repository)
    settings = repository / ".dvc" / "config"
    settings.write_text(settings.read_text().replace("../.dvc-remote", str(repository / ".dvc-remote")))
    git(repository, "commit", "--all", "--message", "a remote that a clone finds too")
    revision = resolve_revision(config.model_copy(update={"repository": repository.as_uri()}))
    fetch(revision, tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "prepared-second")


def test_missing_content_is_said_with_what_to_do(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    shutil.rmtree(Path(config.repository) / ".dvc" / "cache")
    shutil.rmtree(Path(config.repository) / ".dvc-remote")
    with pytest.raises(UserError, match=r"is neither in the DVC cache of .* nor on its remote; .*`dvc push data.dvc`"):
        fetch(at(config, "main"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_one_missing_shard_is_missing_content(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    revision = at(config, "main")
    for store in (".dvc/cache", ".dvc-remote"):
        for file in (Path(config.repository) / store / "files" / "md5").rglob("*"):
            if file.is_file() and file.suffix != ".dir" and file.read_bytes().startswith(b"PAR1"):
                file.unlink()
    with pytest.raises(UserError, match="is neither in the DVC cache"):
        fetch(revision, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_unknown_remote_is_named(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="remote 'nowhere' doesn't exist"):
        fetch(at(config, "main"), tmp_path / "fetched", remote="nowhere")


def test_damaged_content_is_refused(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    for file in (Path(config.repository) / ".dvc" / "cache" / "files" / "md5").rglob("*"):
        if file.is_file() and file.read_bytes().startswith(b"PAR1"):
            file.chmod(0o644)
            damaged = bytearray(file.read_bytes())
            damaged[len(damaged) // 2] ^= 1
            file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"is not the file that manifest.json describes"):
        fetch(at(config, "main"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_interrupted_fetch_leaves_nothing_and_keeps_what_was_there(
    config: DataConfig, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with monkeypatch.context() as patch:

        def interrupt(folder: Path, verify: bool) -> None:
            assert (folder / "manifest.json").is_file()  # all but in place
            raise KeyboardInterrupt

        patch.setattr(versioning.PreparedData, "open", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(at(config, "main"), place / "fetched")
        assert list(place.iterdir()) == []
        older = write_prepared(place / "fetched", "older")
        with pytest.raises(KeyboardInterrupt):
            fetch(at(config, "main"), place / "fetched")
        assert list(place.iterdir()) == [older]
    assert caption_in(older) == "older"
    fetch(at(config, "main"), place / "fetched")
    assert caption_in(place / "fetched") == "second"


def test_fetch_leaves_a_current_folder_replaces_another_revision_and_refuses_anything_else(
    config: DataConfig, two: list[str], tmp_path: Path
) -> None:
    fetched = fetch(at(config, "v1"), tmp_path / "fetched")
    inode = (fetched / "manifest.json").stat().st_ino
    fetch(at(config, "v1"), fetched)
    assert (fetched / "manifest.json").stat().st_ino == inode
    fetch(at(config, "main"), fetched)
    assert contents(fetched) == contents(tmp_path / "prepared-second")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        fetch(at(config, "main"), tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "years of work"


# Publishing.


def test_publishing_the_same_data_twice_is_one_commit(config: DataConfig, tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "prepared", "once")
    first = publish(config, prepared)
    assert publish(config, prepared) == first
    assert publish(config, Path(config.repository) / "data") == first
    repository = Path(config.repository)
    assert git(repository, "rev-list", "--count", "HEAD") == "1"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "ls-files").split() == [
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        "data.dvc",
    ]
    assert git(repository, "log", "-1", "--format=%an <%ae>") == "eve <eve@localhost>"
    assert at(config, "HEAD").commit == first


def test_a_new_repository_reports_to_nobody_and_can_be_moved(config: DataConfig, tmp_path: Path) -> None:
    publish(config, write_prepared(tmp_path / "prepared", "once"))
    settings = (Path(config.repository) / ".dvc" / "config").read_text()
    assert "analytics = false" in settings.lower()
    assert "check_update = false" in settings.lower()
    assert str(tmp_path) not in settings  # an absolute path would not survive the move
    moved = Path(config.repository).rename(tmp_path / "moved")
    shutil.rmtree(moved / ".dvc" / "cache")
    fetch(resolve_revision(DataConfig(repository=str(moved))), tmp_path / "fetched")
    assert caption_in(tmp_path / "fetched") == "once"


def test_the_user_is_the_author_and_other_staged_work_stays_staged(config: DataConfig, tmp_path: Path) -> None:
    repository = Path(config.repository)
    repository.mkdir()
    git(repository, "init")
    git(repository, "config", "user.email", "ada@localhost")
    git(repository, "config", "user.name", "Ada")
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "notes.txt").write_text("not yet")
    git(repository, "add", "notes.txt")
    publish(config, write_prepared(tmp_path / "prepared", "once"))
    assert git(repository, "log", "-1", "--format=%an <%ae>") == "Ada <ada@localhost>"
    assert git(repository, "status", "--porcelain") == "A  notes.txt"
    assert (repository / ".gitignore").read_text().splitlines() == ["*.log", "/.dvc-remote", "/data"]


def test_pinned_data_is_pushed_and_nothing_changes(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    repository = Path(config.repository)
    shutil.rmtree(repository / ".dvc-remote")
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "data")
    pin = (repository / "data.dvc").read_bytes()
    careful = config.model_copy(update={"commit": False})
    assert publish(careful, tmp_path / "prepared-second") == two[1]
    assert (repository / "data.dvc").read_bytes() == pin
    assert git(repository, "status", "--porcelain") == ""
    assert not (repository / "data").exists()
    shutil.rmtree(repository / ".dvc" / "cache")
    fetch(at(config, "main"), tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "prepared-second")


def test_differing_data_is_refused_without_commit(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    repository = Path(config.repository)
    before = contents(repository / ".dvc-remote"), (repository / "data.dvc").read_bytes(), contents(repository / "data")
    careful = config.model_copy(update={"commit": False})
    with pytest.raises(UserError, match=r"differs from data.dvc at HEAD .*`dvc add data && git commit data.dvc`"):
        publish(careful, write_prepared(tmp_path / "third", "third"))
    assert before == (
        contents(repository / ".dvc-remote"),
        (repository / "data.dvc").read_bytes(),
        contents(repository / "data"),
    )
    assert git(repository, "rev-parse", "HEAD") == two[1]


def test_nothing_is_committed_that_could_not_be_pushed(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    broken = config.model_copy(update={"remote": "nowhere"})
    with pytest.raises(UserError, match="remote 'nowhere' doesn't exist"):
        publish(broken, write_prepared(tmp_path / "third", "third"))
    assert at(config, "HEAD").commit == two[1]


def test_a_repository_without_dvc_or_remote(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    repository, careful = Path(config.repository), config.model_copy(update={"commit": False})
    (repository / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    with pytest.raises(UserError, match="no remote specified"):
        publish(careful, tmp_path / "prepared-second")
    shutil.rmtree(repository / ".dvc")
    with pytest.raises(UserError, match="is not set up for DVC; run `dvc init`"):
        publish(careful, tmp_path / "prepared-second")


def test_only_prepared_data_is_published_and_only_over_prepared_data(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="holds no prepared data"):
        publish(config, tmp_path / "pictures")
    working = Path(config.repository) / "data"
    working.mkdir(parents=True)
    (working / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        publish(config, write_prepared(tmp_path / "prepared", "once"))
    assert (working / "thesis.txt").read_text() == "years of work"


def test_a_url_cannot_be_published_to(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="published from a local clone"):
        publish(config.model_copy(update={"repository": "ssh://git@localhost/data.git"}), tmp_path)


def test_a_folder_inside_the_repository_may_hold_the_data(config: DataConfig, tmp_path: Path) -> None:
    nested = config.model_copy(update={"path": "sets/demo"})
    commit = publish(nested, write_prepared(tmp_path / "prepared", "nested"))
    revision = resolve_revision(nested)
    assert revision.commit == commit
    fetch(revision, tmp_path / "fetched")
    assert caption_in(tmp_path / "fetched") == "nested"
    assert git(Path(config.repository), "status", "--porcelain") == ""


def test_a_commit_of_something_else_is_no_new_data_revision(config: DataConfig, two: list[str]) -> None:
    repository = Path(config.repository)
    (repository / "notes.txt").write_text("about the code")
    git(repository, "add", "notes.txt")
    git(repository, "commit", "--quiet", "-m", "Notes")
    assert at(config, "HEAD").commit == two[1]
