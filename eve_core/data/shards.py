"""Writing Parquet shards: of limited size, equal bytes for equal rows, never half a file under its final name."""

import hashlib
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.data.manifest import Shard
from eve_core.data.records import SCHEMAS

MAX_SHARD_BYTES = 256 * 2**20
PICTURE_SIZES = b"eve.picture_sizes"
"""Key in the footer of a shard of pictures: the JSON list of their sizes in bytes.

Pictures are stored plain, uncompressed and one page a row group, so that with these sizes each picture is one slice of
the mapped file (`eve_core.data.prepared.ImageStore`), although the file stays ordinary Parquet for any other reader.
"""

_ROWS_PER_GROUP = {"images": 256}
_DEFAULT_ROWS_PER_GROUP = 16_384
_MAX_GROUP_BYTES = 32 * 2**20


class ShardWriter:
    """Writes the rows of one table and split (or namespace of pictures) into `<stem>-00000.parquet` and so on.

    Used as a context manager: leaving it finishes the last shard, and leaving it through an error removes that one.

    Args:
        folder: the prepared folder.
        table: a key of `SCHEMAS`.
        set_name: the public set, or the namespace of pictures.
        split: the split; None for pictures.
        first: number of the first shard that is written.
        max_bytes: size that a shard may reach, without its footer; a picture larger than that gets one of its own.
    """

    def __init__(
        self,
        folder: Path,
        table: str,
        set_name: str,
        split: str | None = None,
        *,
        first: int = 0,
        max_bytes: int = MAX_SHARD_BYTES,
    ) -> None:
        self.shards: list[Shard] = []
        self._folder, self._table, self._set, self._split = folder, table, set_name, split
        self._number, self._max_bytes = first, max_bytes
        self._rows_per_group = _ROWS_PER_GROUP.get(table, _DEFAULT_ROWS_PER_GROUP)
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._file: _OpenShard | None = None

    def write(self, row: dict[str, Any]) -> None:
        """Add one row, a value for every column of the table."""
        size = _size(row)
        full = self._group_bytes + size > min(_MAX_GROUP_BYTES, self._max_bytes)
        if self._group and (full or len(self._group) == self._rows_per_group):
            self._write_group()
        self._group.append(row)
        self._group_bytes += size

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_group()
                self._finish_shard()
        finally:
            if self._file is not None:
                self._file.discard()

    def _write_group(self) -> None:
        if not self._group:
            return
        if self._file is not None and self._file.bytes + self._group_bytes > self._max_bytes:
            self._finish_shard()
        if self._file is None:
            # Pictures are append-only and shared, so they have a place of their own; a set's rows lie in its folder.
            place = f"images/{self._set}/" if self._split is None else f"{self._set}/{self._split}-"
            self._file = _OpenShard(self._folder, f"{place}{self._number:05d}.parquet", self._table)
            self._number += 1
        self._file.write_group(self._group, self._group_bytes)
        self._group, self._group_bytes = [], 0

    def _finish_shard(self) -> None:
        if self._file is not None:
            self.shards.append(self._file.finish(self._set, self._split))
            self._file = None


class _OpenShard:
    """A Parquet file being written under a temporary name."""

    def __init__(self, folder: Path, path: str, table: str) -> None:
        self.bytes = self.rows = 0
        self._path, self._table = path, table
        self._final = folder / path
        self._temporary = self._final.with_suffix(".tmp")
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._schema = SCHEMAS[table]
        self._sizes: list[int] = []
        pictures = table == "images"
        text_columns = [name for name in self._schema.names if name != "bytes"]
        self._hashed = _HashedFile(self._temporary)
        self._writer: Any = pq.ParquetWriter(
            self._hashed,
            self._schema,
            compression={name: "none" if name == "bytes" else "zstd" for name in self._schema.names},
            use_dictionary=text_columns if pictures else True,
            write_statistics=text_columns if pictures else True,
            data_page_size=2**30 if pictures else None,
        )

    def write_group(self, rows: list[dict[str, Any]], size: int) -> None:
        columns = [
            _binary([row[name] for row in rows]) if name == "bytes" else pa.array([row.get(name) for row in rows], kind)
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=len(rows))
        self.rows += len(rows)
        self.bytes += size
        if self._table == "images":
            self._sizes += [len(row["bytes"]) for row in rows]

    def finish(self, set_name: str, split: str | None) -> Shard:
        if self._table == "images":
            self._writer.add_key_value_metadata({PICTURE_SIZES: json.dumps(self._sizes, separators=(",", ":"))})
        self._writer.close()
        self._hashed.close()
        os.replace(self._temporary, self._final)
        return Shard(
            path=self._path,
            table=self._table,
            set=set_name,
            split=split,
            rows=self.rows,
            bytes=self._final.stat().st_size,
            sha256=self._hashed.digest.hexdigest(),
        )

    def discard(self) -> None:
        with suppress(OSError, pa.ArrowException):  # the disk is full or gone; what matters is that the file goes too
            self._writer.close()
        with suppress(OSError):
            self._hashed.close()
        self._temporary.unlink(missing_ok=True)


class _HashedFile(io.BufferedWriter):
    """A new file that is hashed while it is written: at its end no thread waits until it is read once more."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return super().write(data)


def _binary(values: list[bytes]) -> pa.LargeBinaryArray:
    """Copies every picture once; `pa.array` moves them again and again while it grows."""
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(row: dict[str, Any]) -> int:
    """Bytes of a row before compression, near enough to keep shards below their limit."""
    return sum(
        len(value) if isinstance(value, str | bytes) else 16 + 16 * len(value) if isinstance(value, list) else 8
        for value in row.values()
    )
