"""The texts of tables, without ever holding them all as Python strings."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from eve_core.data.selection import texts_of

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 10_000


class Texts:
    """The captions, questions or statements of tables, in order, as often as they are wanted.

    Args:
        tables: rows as `PreparedData.table` gives them.
    """

    def __init__(self, *tables: "pa.Table") -> None:
        self._tables = tables

    def __len__(self) -> int:
        return sum(table.num_rows for table in self._tables)

    def __iter__(self) -> Iterator[str]:
        for table in self._tables:
            for start in range(0, table.num_rows, _BATCH):
                yield from texts_of(table.slice(start, _BATCH))


def in_batches(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    """`texts` in lists of thousands."""
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
