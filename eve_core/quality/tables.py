"""The tables that are validated: one for each kind and set, and those about the whole data set."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.records import TEXT_COLUMN
from eve_core.quality.measures import (
    Measures,
    StoredPictures,
    is_repeated,
    of_answers,
    of_label,
    of_pictures,
    of_size,
    of_text,
)
from eve_core.quality.overviews import COLUMNS, SPLITS, columns_of, splits_of
from eve_core.quality.suites import load_suite

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CheckedTable:
    """One table and what was measured of its rows."""

    kind: str
    """images, captions, questions, statements, columns or splits."""
    set: str
    """The set; for pictures their namespace; all_tables or all_sets for the last two."""
    rows: pa.Table
    """As they were prepared; pictures without their bytes."""
    measures: pa.Table
    """Columns of `eve_core.quality.measures`, row by row."""

    @property
    def name(self) -> str:
        """How messages call it: "captions of flickr8k"."""
        return f"{self.kind} of {self.set}"

    @property
    def columns(self) -> dict[str, pa.ChunkedArray]:
        """The columns of both by name."""
        return {name: table[name] for table in (self.rows, self.measures) for name in table.column_names}

    def frame(self, columns: Collection[str], start: int, length: int) -> "pd.DataFrame":
        """`columns` of up to `length` rows from `start` on; the index is the place of a row in the table."""
        chosen = {name: column for name, column in self.columns.items() if name in columns}
        frame = pa.table(
            {name: _for_pandas(column.slice(start, length)) for name, column in chosen.items()}
        ).to_pandas()
        frame.index += start
        return frame


def checked_tables(data: PreparedData, config: ValidationConfig) -> list[tuple[str, str]]:
    """Kind and set of the tables of the enabled suites, in their order and by set; columns come first, splits last."""
    present = sorted({(shard.table, shard.set) for shard in data.manifest.shards})
    present += [(COLUMNS, "all_tables"), (SPLITS, "all_sets")]
    kinds = sorted(config.enabled_suites, key=lambda kind: (kind != COLUMNS, kind == SPLITS))
    return [found for kind in kinds for found in present if found[0] == kind]


def read_tables(data: PreparedData, config: ValidationConfig) -> Iterator[CheckedTable]:
    """The same tables one by one, for together they may not fit into memory."""
    stored: StoredPictures | None = None
    rows_read: dict[str, Counter[str]] = {}
    for kind, set_name in checked_tables(data, config):
        measures: Measures = {}
        if kind == COLUMNS:
            rows = columns_of(data)
        elif kind == SPLITS:
            rows = splits_of(data, config, rows_read)
        else:
            rows = data.table(kind, set=set_name)
            measures = {"id_repeated": is_repeated(rows[load_suite(kind).row_id])}
        if kind == "images":
            measures |= of_size(rows)
            measures |= {"has_copy": is_repeated(rows["sha256"]), "has_look_alike": is_repeated(rows["phash"])}
        if kind in TEXT_COLUMN:
            stored = stored or StoredPictures.of(data.image_info().select(["image_id", "sha256"]))
            measures |= of_text(rows[TEXT_COLUMN[kind]]) | of_pictures(rows, stored)
            splits = pc.value_counts(rows["split"]).to_pylist()
            rows_read[set_name] = Counter({counted["values"]: counted["counts"] for counted in splits})
        if kind == "questions":
            measures |= of_answers(rows)
        if kind == "statements":
            measures |= of_label(rows)
        yield CheckedTable(kind, set_name, rows, pa.table(measures))


def _for_pandas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """64-bit numbers: Great Expectations compares those as a column, and all others one by one in Python."""
    if pa.types.is_floating(column.type):
        return pc.cast(column, pa.float64())
    if pa.types.is_integer(column.type):
        return pc.cast(column, pa.int64())
    return column
