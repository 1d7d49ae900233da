"""Making revisions of the data known."""

import shutil
from pathlib import Path

import pytest

from eve_core.config import DataConfig
from eve_core.config.data import RemoteConfig
from eve_core.data.versioning import fetch, publish, resolve_revision
from eve_core.errors import UserError
from tests.data.versioning.conftest import at, caption_in, contents, git, write_prepared


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
    broken = config.model_copy(update={"remote": RemoteConfig(name="nowhere")})
    with pytest.raises(UserError, match=r"has no remote 'nowhere' \(local\)"):
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
