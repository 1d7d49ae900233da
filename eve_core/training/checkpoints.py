"""Checkpoints to resume from: whole or not there.

A checkpoint is written under another name, and gets its own once all its files are on the disk and its record names
their digests. So a process may be killed at any moment: what has a name is whole, and older ones are removed after the
new one has it.
"""

import hashlib
import json
import os
import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eve_core.errors import UserError

_PREFIX = "checkpoint-"
_RECORD = "checkpoint.json"
_UNFINISHED = ".writing"


class CheckpointWriter:
    """Finishes checkpoints in the background, while training goes on.

    Args:
        folder: where they are kept.
        run: what the run is; a checkpoint of another run is not resumed from.
        keep: how many of them, the newest.
    """

    def __init__(self, folder: Path, run: dict[str, Any], keep: int) -> None:
        self.folder = folder
        self.run = run
        self.keep = keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._unfinished: Future[None] | None = None

    @property
    def unfinished(self) -> Path:
        """Where a checkpoint's files are written to."""
        return self.folder / _UNFINISHED

    def clear(self) -> None:
        """Remove what a killed process left half written."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def finish(self, step: int) -> None:
        """Take over the files in `unfinished`/checkpoint-<step>: digest, record, name."""
        self.wait()
        self._unfinished = self._pool.submit(self._finish, step)

    def wait(self) -> None:
        """Until the last checkpoint is whole.

        Raises:
            OSError: it could not be written.
        """
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            unfinished.result()

    def close(self) -> None:
        """No more checkpoints will come; the last one is finished first."""
        self._pool.shutdown()

    def _finish(self, step: int) -> None:
        source, target = self.unfinished / f"{_PREFIX}{step}", self.folder / f"{_PREFIX}{step}"
        files = {}
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            files[str(path.relative_to(source))] = _digest(path)
            _flush(path)
        record = source / _RECORD
        record.write_text(json.dumps({"step": step, "run": self.run, "files": files}, indent=2) + "\n")
        _flush(record)
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
        self.unfinished.rmdir()
        _flush(self.folder)
        for old in _checkpoints(self.folder)[self.keep :]:
            shutil.rmtree(old)


def last_whole_checkpoint(folder: Path, run: dict[str, Any]) -> Path | None:
    """The newest checkpoint in `folder` whose files are as they were written; others are warned about and passed over.

    Args:
        folder: of a `CheckpointWriter`.
        run: what the run is.

    Raises:
        UserError: it is one of another run.
    """
    for checkpoint in _checkpoints(folder):
        try:
            record = json.loads((checkpoint / _RECORD).read_text())
            damaged = [name for name, digest in record["files"].items() if _digest(checkpoint / name) != digest]
            problem = f"{damaged[0]} is not as it was written" if damaged else ""
        except (OSError, ValueError, KeyError) as error:
            record, problem = {}, f"{type(error).__name__}: {error}"
        if problem:
            warnings.warn(f"{checkpoint} is damaged ({problem}); going on from the one before it", stacklevel=2)
            continue
        _refuse_another(checkpoint, record["run"], run)
        return checkpoint
    return None


def _refuse_another(checkpoint: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    different = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if different:
        name = different[0]
        raise UserError(
            f"the checkpoint {checkpoint} is of another run: {name} was {there.get(name)!r} and is {here.get(name)!r}; "
            f"change it back to go on from there, or delete {checkpoint.parent} to start over"
        )


def _checkpoints(folder: Path) -> list[Path]:
    """The newest first."""
    named = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(named, key=lambda path: int(path.name.removeprefix(_PREFIX)), reverse=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """To the disk: a name must not outlive what it names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
