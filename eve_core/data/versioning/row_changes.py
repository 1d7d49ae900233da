"""Which rows of a table were added, removed or changed between two revisions."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from eve_core.data.manifest import Shard
from eve_core.data.records import LEAK, SCHEMAS
from eve_core.data.versioning.contents import Contents

_SEPARATOR, _NULL = "\x1f", "\x00"


@dataclass(frozen=True)
class RowChanges:
    """Identifiers of rows that one of two revisions has, or both with different contents."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def row_changes(old: Contents, new: Contents, table: str, set_name: str, split: str | None) -> RowChanges | None:
    """Compare the rows of one split (pictures: of one namespace) as far as readers see them.

    Shards that both revisions have are not read.

    Returns:
        The identifiers, sorted; None when a shard that has to be read is out of reach.
    """
    key = (table, set_name, split)
    was, now = (
        [shard for shard in side.manifest.shards if (shard.table, shard.set, shard.split) == key] for side in (old, new)
    )
    nothing = pa.chunked_array([], pa.string())
    hidden_then, hidden_now = (nothing if table == "images" else _hidden(side, set_name) for side in (old, new))
    if hidden_then is None or hidden_now is None:
        return None
    if hidden_then.equals(hidden_now):
        common = {shard.sha256 for shard in was} & {shard.sha256 for shard in now}
        was, now = ([shard for shard in side if shard.sha256 not in common] for side in (was, now))
    rows_then, rows_now = _rows(old, was, table, hidden_then), _rows(new, now, table, hidden_now)
    if rows_then is None or rows_now is None:
        return None
    known = pc.is_in(rows_now["id"], rows_then["id"])
    equal = pc.is_in(rows_now["content"], rows_then["content"])
    return RowChanges(
        added=_ids(rows_now.filter(pc.invert(known))),
        removed=_ids(rows_then.filter(pc.invert(pc.is_in(rows_then["id"], rows_now["id"])))),
        changed=_ids(rows_now.filter(pc.and_not(known, equal))),
    )


def _rows(contents: Contents, shards: list[Shard], table: str, hidden: pa.ChunkedArray) -> pa.Table | None:
    """Columns id (text) and content (64 bits of a hash over all columns, the identifier included)."""
    from pandas.util import hash_array

    columns = ["image_id", "sha256"] if table == "images" else SCHEMAS[table].names
    rows = [pa.schema([("id", pa.string()), ("content", pa.uint64())]).empty_table()]
    for shard in shards:
        if not contents.has(shard.path):
            return None
        read = contents.read(shard.path, columns)
        texts = [_as_text(read[name]) for name in columns]
        content = pc.binary_join_element_wise(*texts, _SEPARATOR, null_handling="replace", null_replacement=_NULL)
        hashes = hash_array(content.to_numpy(zero_copy_only=False), categorize=False)
        rows.append(pa.table({"id": texts[0], "content": pa.array(hashes)}))
    merged = pa.concat_tables(rows)
    return merged.filter(pc.invert(pc.is_in(merged["id"], hidden)))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        return pc.binary_join(column, _SEPARATOR)
    return column.cast(pa.string())


def _hidden(contents: Contents, set_name: str) -> pa.ChunkedArray | None:
    """Identifiers of rows that are in the shards of a set and that `PreparedData` shows nobody."""
    chunks: list[pa.Array] = []
    for shard in contents.manifest.shards:
        if shard.table == "quarantine" and shard.set == set_name:
            if not contents.has(shard.path):
                return None
            rows = contents.read(shard.path, ["row_id", "reason"])
            chunks += rows.filter(pc.starts_with(rows["reason"], LEAK))["row_id"].chunks
    return pa.chunked_array(chunks, pa.string())


def _ids(rows: pa.Table) -> list[str]:
    return sorted(rows["id"].to_pylist())
