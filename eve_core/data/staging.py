"""Replacing a whole folder: it is built beside the final place and swapped in, so that nobody ever meets half of it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eve_core.errors import UserError


@contextmanager
def staged_folder(out: Path, marker: str, *, resume: str | None = None, progress: str = ".progress") -> Iterator[Path]:
    """Yield an empty folder beside `out`; on leaving, it takes the place of `out`.

    When the body raises, the new folder is removed and `out` stays as it was. A killed process leaves the hidden folder
    `.<name>.preparing`, which the next one empties.

    Args:
        out: the folder to make or replace.
        marker: a file that an existing `out` must hold, unless it is empty: what proves that it may be replaced.
        resume: what the work is made from; unfinished work from the same is yielded as it is, and is kept when the body
            raises after it wrote a journal.
        progress: folder in the yielded one for what helps to resume, such as files <name>.journal; it exists when
            `resume` is given, and the body removes it.

    Raises:
        UserError: `out` is a file or someone else's folder, or another process is making it right now.
    """
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise UserError(f"the output {out} is a file; choose another folder")
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise UserError(f"the output folder {out} holds other files ({marker} is not among them); choose an empty one")
    with _alone(out) as (new, old):
        try:
            _keep_or_empty(new, resume, progress)
            yield new
            if out.exists():
                os.rename(out, old)
            os.rename(new, out)
        except BaseException:
            if not any(journal.stat().st_size for journal in (new / progress).glob("*.journal")):
                shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)


def recover(out: Path) -> None:
    """Bring `out` back where a process was killed while it replaced it; for those who read it before they replace it.

    Raises:
        UserError: another process is replacing it right now.
    """
    out = Path(out).resolve()
    if _beside(out, "replaced").exists():
        with _alone(out):
            pass


@contextmanager
def _alone(out: Path) -> Iterator[tuple[Path, Path]]:
    """The new and the old folder beside `out`, for this process alone; `out` is whole, and there is no old one."""
    new, old = _beside(out, "preparing"), _beside(out, "replaced")
    new.mkdir(parents=True, exist_ok=True)
    lock = os.open(new, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is writing {out} right now; wait for it, or choose another folder"
            ) from None
        # A process may have been killed between its two renames, or behind them.
        if old.exists() and not out.exists():
            os.rename(old, out)
        shutil.rmtree(old, ignore_errors=True)
        yield new, old
    finally:
        os.close(lock)


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f".{out.name}.{suffix}")


def _keep_or_empty(folder: Path, resume: str | None, progress: str) -> None:
    note = folder / progress / "made_from"
    if resume is not None and note.is_file() and note.read_text() == resume:
        return
    _empty(folder)
    if resume is not None:
        note.parent.mkdir()
        note.write_text(resume)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
