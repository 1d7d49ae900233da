"""What a branch, a tag or a commit of a data repository stands for."""

import subprocess
import sys
from pathlib import Path

import pytest

from eve_core.config import DataConfig
from eve_core.data.versioning import DataRevision, resolve_revision
from eve_core.errors import UserError
from tests.data.versioning.conftest import at, git


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


def test_a_commit_of_something_else_is_no_new_data_revision(config: DataConfig, two: list[str]) -> None:
    repository = Path(config.repository)
    (repository / "notes.txt").write_text("about the code")
    git(repository, "add", "notes.txt")
    git(repository, "commit", "--quiet", "-m", "Notes")
    assert at(config, "HEAD").commit == two[1]
