"""First pass: the set's own files -> a spool of rows, and of the pictures that they need, each once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.config import SourceConfig
from eve_core.data.prepare.quarantine import Quarantined
from eve_core.data.records import KIND_OF_SET, SCHEMAS, TEXT_COLUMN
from eve_core.data.sources import read_source
from eve_core.data.sources.annotation import PictureFile, Rejected
from eve_core.progress import track

_PICTURES = pa.schema(
    [
        ("image_id", pa.string()),
        ("name", pa.string()),
        ("coco_id", pa.int64()),
        ("candidates", pa.string()),  # JSON
    ]
)
_GROUP = 16_384


@dataclass
class Spool:
    """What one set's files hold; its pictures have not been looked at yet."""

    folder: Path
    kind: str
    """Table of the rows."""
    counts: Counter[str] = field(default_factory=Counter)
    """Records read, by split, whether or not they became a row."""
    pictures: int = 0
    """Distinct pictures that the rows need."""
    quarantined: list[Quarantined] = field(default_factory=list)
    """Records that are no rows."""

    def rows(self) -> Iterator[pa.Table]:
        """The rows in the order of the files, a few thousand at a time."""
        yield from _batches(self.folder / "rows.parquet", SCHEMAS[self.kind])

    def picture_ids(self) -> Iterator[str]:
        """Their identifiers."""
        for batch in _batches(self.folder / "pictures.parquet", _PICTURES):
            yield from batch["image_id"].to_pylist()

    def picture_files(self) -> Iterator[PictureFile]:
        """The pictures in the order in which the rows first need them."""
        for batch in _batches(self.folder / "pictures.parquet", _PICTURES):
            yield from map(PictureFile.from_row, batch.to_pylist())


def read_set(source: SourceConfig, folder: Path, *, progress: bool) -> Spool:
    """Read all of a set's files into a spool in `folder`.

    Raises:
        UserError: a file is missing or is not what the config says.
    """
    kind = KIND_OF_SET[source.set]
    text, identifier = TEXT_COLUMN[kind], SCHEMAS[kind].names[0]
    spool = Spool(folder, kind)
    seen: set[str] = set()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _Writer(folder / "rows.parquet", SCHEMAS[kind]) as rows,
        _Writer(folder / "pictures.parquet", _PICTURES) as pictures,
    ):
        for found in track(read_source(source), f"reading {source.set}", unit=" record", shown=progress):
            if isinstance(found, Rejected):
                if found.split is not None:
                    spool.counts[found.split] += 1
                spool.quarantined.append(Quarantined(**asdict(found)))
                continue
            spool.counts[found.row["split"]] += 1
            if not found.row[text].strip():
                row_id, split = str(found.row[identifier]), found.row["split"]
                spool.quarantined.append(Quarantined(row_id, f"empty_{text}", f"{text} {row_id} has no words", split))
                continue
            rows.write(found.row)
            for picture in found.pictures:
                if picture.image_id not in seen:
                    seen.add(picture.image_id)
                    pictures.write(picture.row())
    spool.pictures = len(seen)
    return spool


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_GROUP):
            yield pa.Table.from_batches([batch]).cast(schema)


class _Writer:
    """Rows into one Parquet file, a group at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()
