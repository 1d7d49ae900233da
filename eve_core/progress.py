"""Progress of long work, shown where it can be seen.

A person at a terminal gets a bar. A step of a pipeline under `eve run`, whose output is a log file, instead leaves its
position in the folder `$EVE_PROGRESS`, one small JSON file a bar, marked with the step `$EVE_STEP`; `eve run` draws the
bars of all running steps.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
_SECONDS_BETWEEN_NOTES = 0.3


class Progress:
    """A bar that counts to `total`; `note` adds a few words such as a loss.

    Args:
        description: what is counted ("pre-training").
        total: how many there will be; None when that is not known.
        unit: what one is ("step").
        shown: False for a caller that wants none.
    """

    def __init__(self, description: str, total: int | None, unit: str = "it", *, shown: bool = True) -> None:
        self._folder = os.environ.get("EVE_PROGRESS") if shown else None
        self._state = {
            "step": os.environ.get("EVE_STEP", ""),
            "description": description,
            "total": total,
            "unit": unit,
            "done": 0,
            "note": "",
        }
        self._last_note = 0.0
        self._bar = None
        if self._folder:
            self._file = Path(self._folder) / f"{os.getpid()}-{time.monotonic_ns()}.bar.json"
            self._write()
        elif shown:
            self._bar = tqdm(total=total, desc=description, unit=unit, file=sys.stderr, mininterval=0.5, leave=True)

    def update(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more."""
        self.update_to(int(self._state["done"] or 0) + amount, note)

    def update_to(self, done: int, note: str = "") -> None:
        """Set the count."""
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        self._state.update(done=done, note=note)
        if self._folder and time.monotonic() - self._last_note > _SECONDS_BETWEEN_NOTES:
            self._write()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._folder:
            self._state["finished"] = kind is None
            self._write()

    def _write(self) -> None:
        self._last_note = time.monotonic()
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._state))
        temporary.replace(self._file)


def track(
    items: Iterable[Item], description: str, total: int | None = None, unit: str = "it", *, shown: bool = True
) -> Iterator[Item]:
    """Yield `items` and show how far it is."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with Progress(description, total, unit, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()
