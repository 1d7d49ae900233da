"""Checkpoints to resume from: which of them are whole."""

import shutil
from pathlib import Path

_PREFIX = "checkpoint-"
_COMPLETE = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Note that everything in `checkpoint` has been written; without this note it does not count."""
    (checkpoint / _COMPLETE).touch()


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`; torn ones, of a run that died while writing, are removed."""
    whole = []
    for checkpoint in folder.glob(f"{_PREFIX}*"):
        if (checkpoint / _COMPLETE).exists():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda path: int(path.name.removeprefix(_PREFIX)), default=None)
