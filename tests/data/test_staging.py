"""Replacing a folder as a whole."""

from pathlib import Path

import pytest

from eve_core.data.staging import staged_folder
from eve_core.errors import UserError


def make(out: Path, text: str) -> None:
    with staged_folder(out, "marker") as folder:
        (folder / "marker").write_text(text)


def test_the_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    (tmp_path / "out/of the old one").touch()
    make(tmp_path / "out", "new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["marker"]
    assert (tmp_path / "out/marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_processes_do_not_make_the_same_folder(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out", "marker") as folder:
        (folder / "marker").touch()
        with pytest.raises(UserError, match="another process is writing"):
            make(tmp_path / "out", "second")
    assert (tmp_path / "out/marker").exists()


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "out", "marker"):
        raise RuntimeError
    assert (tmp_path / "out/marker").read_text() == "old"


def test_a_kill_while_the_old_folder_was_removed_stops_nobody(tmp_path: Path) -> None:
    make(tmp_path / "out", "new")
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced/rest of the old one").touch()
    make(tmp_path / "out", "newer")
    assert (tmp_path / "out/marker").read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_work_with_a_journal_is_kept_and_goes_on_only_from_the_same(tmp_path: Path) -> None:
    def attempt(resume: str, journal: str) -> list[str]:
        found = []

        def work() -> None:
            with staged_folder(tmp_path / "out", "marker", resume=resume) as folder:
                found.extend(sorted(path.name for path in folder.iterdir()))
                (folder / "part").touch()
                (folder / ".progress" / "x.journal").write_text(journal)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            work()
        return found

    assert attempt("a", "") == [".progress"]
    assert list(tmp_path.iterdir()) == []
    assert attempt("a", "done") == [".progress"]
    assert attempt("a", "done") == [".progress", "part"]
    assert attempt("b", "done") == [".progress"]


def test_a_file_or_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        make(tmp_path / "file", "new")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        make(tmp_path / "folder", "new")
