"""Which rows a task trains on and which it is scored on."""

import hashlib
from typing import TYPE_CHECKING

from eve_core.config import Split, TaskDataConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.records import KIND_OF_SET
from eve_core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_PICTURE_COLUMNS = ("image_id", "left_image_id", "right_image_id")
_TEXT_COLUMNS = ("caption", "question", "statement")


def training_rows(data: PreparedData, task: TaskDataConfig) -> "pa.Table":
    """The rows that `task` trains on; of a held-out split, those that are not scored.

    Raises:
        UserError: the data set does not hold them, or holding out leaves none.
    """
    return _rows(data, task, scored=False)


def evaluation_rows(data: PreparedData, task: TaskDataConfig) -> "pa.Table":
    """The rows that `task` is scored on.

    Raises:
        UserError: the data set does not hold them, or holding out leaves none.
    """
    return _rows(data, task, scored=True)


def split_rows(data: PreparedData, split: Split) -> "pa.Table":
    """All rows of `split`.

    Raises:
        UserError: the data set does not hold them.
    """
    if split.set not in KIND_OF_SET:
        raise UserError(f"there is no set {split.set}; the sets are {', '.join(KIND_OF_SET)}")
    return data.table(KIND_OF_SET[split.set], set=split.set, splits=split.splits)


def texts_of(rows: "pa.Table") -> list[str]:
    """The captions, questions or statements in `rows`."""
    column = next(name for name in _TEXT_COLUMNS if name in rows.column_names)
    texts: list[str] = rows[column].to_pylist()
    return texts


def _rows(data: PreparedData, task: TaskDataConfig, *, scored: bool) -> "pa.Table":
    split = task.evaluate if scored else task.train
    table = split_rows(data, split)
    if task.holdout is not None:
        table = _hold_out(table, task.holdout, scored=scored)
    if table.num_rows == 0:
        purpose = "score" if scored else "train on"
        raise UserError(
            f"{split.set} {', '.join(split.splits)} has no rows to {purpose}; check the task's data and holdout"
        )
    return table


def _hold_out(table: "pa.Table", share: float, *, scored: bool) -> "pa.Table":
    """Split rows by picture, so that no picture is on both sides; pictures are ordered by the hash of their id."""
    import pyarrow as pa

    columns = [table[name].to_pylist() for name in _PICTURE_COLUMNS if name in table.column_names]
    pictures = list(zip(*columns, strict=True))
    ordered = sorted(set(pictures), key=lambda ids: hashlib.sha256("\n".join(ids).encode()).hexdigest())
    kept_out = set(ordered[: max(1, round(share * len(ordered)))])
    return table.filter(pa.array([(ids in kept_out) == scored for ids in pictures]))
