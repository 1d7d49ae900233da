"""Tables about the data set as a whole: its columns and its splits."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.records import SCHEMAS

COLUMNS, SPLITS = "columns", "splits"
"""Kinds of table."""


def columns_of(data: PreparedData) -> pa.Table:
    """One row a column that a table of the data has or `SCHEMAS` declares.

    column_id: "captions of coco_captions/caption".
    as_declared: whether every shard has it, with the declared type, and with a value in every row where there must be.
    """
    as_declared: dict[str, bool] = {}
    for shard in data.manifest.shards:
        declared, found = SCHEMAS[shard.table], pq.read_schema(data.path / shard.path)
        for name in sorted({*declared.names, *found.names}):
            equal = name in declared.names and name in found.names and found.field(name).equals(declared.field(name))
            column_id = f"{shard.table} of {shard.set}/{name}"
            as_declared[column_id] = as_declared.get(column_id, True) and equal
    columns = {
        "column_id": pa.array(as_declared, pa.string()),
        "as_declared": pa.array(as_declared.values(), pa.bool_()),
    }
    return pa.table(columns)


def splits_of(data: PreparedData, config: ValidationConfig, rows_read: dict[str, Counter[str]]) -> pa.Table:
    """One row a split that the data has or the config expects.

    split_id: "coco_captions/train".
    rows: how many the manifest says there are.
    rows_as_recorded: whether so many were read, `rows_read` by set; null where the set was not read.
    share: of the set's rows.
    share_as_expected: whether that is the share in the config; null where it expects none.
    """
    table = []
    for name in sorted({*data.manifest.sets, *config.split_shares}):
        counts = data.manifest.sets[name].counts if name in data.manifest.sets else {}
        expected, read = config.split_shares.get(name, {}), rows_read.get(name)
        for split in sorted({*counts, *expected, *(read or ())}) or ["no split"]:
            rows = counts.get(split, 0)
            share = rows / max(1, sum(counts.values()))
            off = abs(share - expected[split]) if split in expected else None
            table.append(
                {
                    "split_id": f"{name}/{split}",
                    "rows": rows,
                    "rows_as_recorded": None if read is None else read[split] == rows,
                    "share": share,
                    "share_as_expected": None if off is None else off <= config.split_share_tolerance,
                }
            )
    columns = {"split_id": pa.string(), "rows": pa.int64(), "rows_as_recorded": pa.bool_(), "share": pa.float64()}
    return pa.Table.from_pylist(table, schema=pa.schema({**columns, "share_as_expected": pa.bool_()}))
