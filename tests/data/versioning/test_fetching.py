"""Bringing a revision into a folder, from the cache or from a remote that is a folder."""

import errno
import shutil
from pathlib import Path

import pytest

from eve_core.config import DataConfig
from eve_core.config.data import RemoteConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.versioning import fetch, resolve_revision
from eve_core.errors import UserError
from tests.data.versioning.conftest import at, caption_in, contents, damage, git, objects, write_prepared


def test_fetch_brings_the_pinned_bytes_from_cache_or_remote(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    assert fetch(at(config, "v1"), tmp_path / "one") == tmp_path / "one"
    assert contents(tmp_path / "one") == contents(tmp_path / "prepared-first")
    shutil.rmtree(Path(config.repository) / ".dvc" / "cache")
    fetch(at(config, "main"), tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "prepared-second")
    fetch(at(config, "v1"), tmp_path / "three", remote=RemoteConfig(name="local"))
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
    with pytest.raises(UserError, match=r"is neither in the DVC cache of .* nor on its remote; .*`eve data push"):
        fetch(at(config, "main"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_one_missing_shard_is_missing_content(
    config: DataConfig, two: list[str], repository: Path, tmp_path: Path
) -> None:
    for store in (".dvc/cache", ".dvc-remote"):
        for shard in objects(repository / store, b"PAR1"):
            shard.unlink()
    with pytest.raises(UserError, match="is neither in the DVC cache"):
        fetch(at(config, "main"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_remote_by_name_or_by_path(config: DataConfig, two: list[str], repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / ".dvc-remote", repository / "copy")
    shutil.copytree(repository / ".dvc-remote", tmp_path / "copy")
    shutil.rmtree(repository / ".dvc-remote")
    shutil.rmtree(repository / ".dvc" / "cache")
    with (repository / ".dvc" / "config").open("a") as settings:
        settings.write("['remote \"other\"']\n    url = ../copy\n")
    fetch(at(config, "main"), tmp_path / "one", RemoteConfig(name="other"))
    fetch(at(config, "main"), tmp_path / "two", RemoteConfig(url=str(tmp_path / "copy")))
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "prepared-second")


def test_an_unknown_remote_is_named(config: DataConfig, two: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no remote 'nowhere' \(local\)"):
        fetch(at(config, "main"), tmp_path / "fetched", remote=RemoteConfig(name="nowhere"))


def test_damaged_content_is_refused_and_leaves_nothing(
    config: DataConfig, two: list[str], repository: Path, tmp_path: Path
) -> None:
    for shard in objects(repository / ".dvc/cache", b"PAR1"):
        damage(shard)
    with pytest.raises(UserError, match=r"is damaged: .* is not the file that manifest.json describes.*; remove it"):
        fetch(at(config, "main"), tmp_path / "place" / "fetched")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_list_of_files_that_is_not_the_pinned_one_is_refused(
    config: DataConfig, two: list[str], repository: Path, tmp_path: Path
) -> None:
    pinned = at(config, "main").dvc_md5
    for store in (".dvc/cache", ".dvc-remote"):
        listing = repository / store / "files" / "md5" / pinned[:2] / pinned[2:]
        listing.chmod(0o644)
        listing.write_text(listing.read_text().replace("manifest.json", "../outside.json"))
    with pytest.raises(UserError, match=r"is damaged: on .* the list of its files is not the one that was pinned"):
        fetch(at(config, "main"), tmp_path / "place" / "fetched")
    assert not (tmp_path / "place").exists()


def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(
    config: DataConfig, two: list[str], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dvc_objects.fs.local as local

    brought: list[Path] = []

    def copy_one_file(source: str, target: str, **_: object) -> None:
        if brought:
            raise OSError(errno.ENOSPC, "No space left on device", source, None, target)
        shutil.copyfile(source, target)
        brought.append(Path(source).relative_to(repository / ".dvc" / "cache"))

    with monkeypatch.context() as patch:
        patch.setattr(local, "copyfile", copy_one_file)
        with pytest.raises(UserError, match=r"^fetching data revision .*: the disk is full at .*fetched.*; free some"):
            fetch(at(config, "main"), tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()
    shutil.rmtree(repository / ".dvc" / "cache")
    (repository / ".dvc-remote" / brought[0]).unlink()  # it is here already
    fetch(at(config, "main"), tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "prepared-second")


def test_an_interrupted_fetch_leaves_nothing_and_keeps_what_was_there(
    config: DataConfig, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with monkeypatch.context() as patch:

        def interrupt(folder: Path, verify: bool) -> None:
            assert (folder / "manifest.json").is_file()  # all but in place
            raise KeyboardInterrupt

        patch.setattr(PreparedData, "open", interrupt)
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
