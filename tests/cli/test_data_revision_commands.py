"""`eve data push`, `pull`, `status` and `diff` from the outside."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from eve_core.cli.data import data_app
from eve_core.config import load_config
from eve_core.data.versioning import publish
from eve_core.errors import UserError
from tests.config.test_run_config import MINIMAL
from tests.data.versioning.conftest import contents, forget_this_machine, write_prepared

WIDE = {"COLUMNS": "200"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `eve data ...` on a config whose repository has two revisions; its output."""
    forget_this_machine(monkeypatch, tmp_path)
    tree = copy.deepcopy(MINIMAL)
    tree["workspace"] = str(tmp_path)
    tree["data"] = {"repository": str(tmp_path / "repository"), "commit": True}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    config = load_config(path).data
    for folder, caption in (("first", "a dog"), ("prepared", "a cat")):
        publish(config, write_prepared(tmp_path / folder, caption))
    tree["data"]["remote"] = {"url": str(tmp_path / "remote")}
    path.write_text(yaml.safe_dump(tree))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(data_app, [*arguments, "--config", str(path)], env=WIDE, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_data_goes_to_another_folder_by_way_of_the_remote(run: Callable[..., str], tmp_path: Path) -> None:
    assert "lacks 3 of 3 files" in run("status")
    assert "pushed 3 files of data revision" in run("push")
    assert "nothing to push" in run("push")
    shutil.rmtree(tmp_path / "repository" / ".dvc" / "cache")
    shutil.rmtree(tmp_path / "repository" / ".dvc-remote")
    assert "is data revision" in run("pull", "--out", str(tmp_path / "pulled"))
    assert contents(tmp_path / "pulled") == contents(tmp_path / "prepared")
    status = run("status")
    assert "has all 3 files" in status
    assert "is this revision" in status


def test_another_revision_is_pulled_by_name(run: Callable[..., str], tmp_path: Path) -> None:
    run("pull", "--revision", "HEAD~1", "--out", str(tmp_path / "pulled"))
    assert contents(tmp_path / "pulled") == contents(tmp_path / "first")
    with pytest.raises(UserError, match="'v9' is no commit, tag or branch"):
        run("pull", "--revision", "v9", "--out", str(tmp_path / "pulled"))


def test_revisions_are_compared(run: Callable[..., str]) -> None:
    assert "1 -> 1" in run("diff", "HEAD~1", "HEAD")
    assert "same data" in run("diff", "HEAD", "HEAD")
    difference = json.loads(run("diff", "HEAD~1", "HEAD", "--json"))
    assert difference["tables"][0]["rows"] == {"added": [], "removed": [], "changed": ["1"]}
