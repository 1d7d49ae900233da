"""Checkpoints to resume from: whole or not there, and written while training goes on.

Training stands still for a copy in memory alone. A checkpoint is written under another name, and gets its own once all
its files are on the disk and its record names their digests. So a process may be killed at any moment: what has a name
is whole, and older ones are removed after the new one has it.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from eve_core.errors import UserError, is_full_disk

_PREFIX = "checkpoint-"
_RECORD = "checkpoint.json"
_UNFINISHED = ".writing"


class CheckpointWriter:
    """Writes checkpoints in the background.

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
        self._lock: TextIO | None = None
        self._copies: dict[str, torch.Tensor] = {}

    @property
    def unfinished(self) -> Path:
        """Where checkpoints are written before they have a name."""
        return self.folder / _UNFINISHED

    def begin(self, step: int) -> Path:
        """An empty folder for a checkpoint's small files.

        Raises:
            OSError: the last one could not be written.
        """
        self.wait()
        shutil.rmtree(self.unfinished, ignore_errors=True)
        folder = self.unfinished / f"{_PREFIX}{step}"
        folder.mkdir(parents=True)
        return folder

    def newest(self) -> Path | None:
        """What to go on from, with other processes kept out of the folder for as long as this one lives.

        Raises:
            UserError: another run is in it, or see `last_whole_checkpoint`.
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process trains in {self.folder}; wait for it to end, or stop it, and run this again"
            ) from None
        except OSError as error:
            warnings.warn(
                f"the file system of {self.folder} has no locks ({error.strerror}); see to it that nothing else trains "
                "there, or mount it with locks (Lustre: -o flock)",
                stacklevel=2,
            )
        return last_whole_checkpoint(self.folder, self.run)

    def finish(self, step: int, tensors: dict[str, Any], *, digests: bool = True) -> None:
        """Write the rest of what `begin` began, in the background.

        Args:
            step: of the checkpoint.
            tensors: by file name, what has tensors in it; they are copied before this returns.
            digests: whether there is time for them; the record has the files' sizes either way.
        """
        copies = {name: self._copied(tree, name) for name, tree in tensors.items()}
        self._unfinished = self._pool.submit(self._finish, step, copies, digests)

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
        if self._lock is not None:
            self._lock.close()

    def _copied(self, tree: Any, place: str) -> Any:
        """`tree` with its tensors copied into memory that is used again for the next checkpoint."""
        if isinstance(tree, dict):
            return {key: self._copied(value, f"{place}/{key}") for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._copied(value, f"{place}/{number}") for number, value in enumerate(tree)]
        if not isinstance(tree, torch.Tensor):
            return tree
        if place not in self._copies:
            self._copies[place] = torch.empty_like(tree, device="cpu", memory_format=torch.contiguous_format)
        return self._copies[place].copy_(tree)

    def _finish(self, step: int, tensors: dict[str, Any], digests: bool) -> None:
        source, target = self.unfinished / f"{_PREFIX}{step}", self.folder / f"{_PREFIX}{step}"
        try:
            for name, tree in tensors.items():
                (save_file if name.endswith(".safetensors") else torch.save)(tree, source / name)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            if isinstance(error, OSError) or not is_full_disk(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error  # PyTorch's and safetensors' own words
        files = {}
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            files[str(path.relative_to(source))] = [path.stat().st_size, _digest(path) if digests else None]
            _flush(path)
        record = source / _RECORD
        record.write_text(json.dumps({"step": step, "run": self.run, "files": files}, indent=2) + "\n")
        _flush(record)
        _flush(source)
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
        self.unfinished.rmdir()
        _flush(self.folder)
        # Damaged ones that were passed over may have higher numbers.
        numbered = {_number(path): path for path in _checkpoints(self.folder)}
        kept = [number for number in numbered if number <= step][: self.keep]
        for number, path in numbered.items():
            if number not in kept:
                shutil.rmtree(path)


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
            damaged = [name for name, written in record["files"].items() if not _is_as(checkpoint / name, *written)]
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
    return sorted(named, key=_number, reverse=True)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def _is_as(path: Path, size: int, digest: str | None) -> bool:
    return path.stat().st_size == size and (digest is None or _digest(path) == digest)


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
