"""Reading a prepared folder: its tables, and its pictures one by one."""

import json
import mmap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eve_core.data.manifest import MANIFEST_NAME, Manifest, Shard
from eve_core.data.records import KIND_OF_SET, LEAK, QUARANTINE_FILE, SCHEMAS
from eve_core.data.shards import PICTURE_SIZES, file_sha256
from eve_core.errors import UserError

_INFO_COLUMNS = [name for name in SCHEMAS["images"].names if name != "bytes"]


class PreparedData:
    """A prepared data set on disk; made by `PreparedData.open`.

    Attributes:
        path: the folder.
        manifest: what is in it.
        images: its pictures by image_id.
    """

    def __init__(self, path: Path, manifest: Manifest, quarantine: Path | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._quarantine = quarantine
        self.images = ImageStore(path, [shard.path for shard in manifest.shards if shard.table == "images"])

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = False, quarantine: Path | str | None = None) -> "PreparedData":
        """Open a prepared folder.

        Args:
            path: the folder with `manifest.json`.
            verify: read every shard and compare its sha256, not only its size.
            quarantine: folder of a validation's report, which names further rows that nobody may see.

        Raises:
            UserError: the manifest is missing, damaged or of another format, or a shard is missing or has changed.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        for shard in manifest.shards:
            file = path / shard.path
            if not file.is_file():
                raise UserError(
                    f"shard {shard.path} of {path} is missing; fetch the data set again or prepare it again"
                )
            if file.stat().st_size != shard.bytes or (verify and file_sha256(file) != shard.sha256):
                raise UserError(
                    f"shard {shard.path} of {path} is not the file that {MANIFEST_NAME} describes "
                    f"({file.stat().st_size} bytes, {shard.bytes} expected); fetch the data set again or prepare it "
                    "again"
                )
        return cls(path, manifest, Path(quarantine) / QUARANTINE_FILE if quarantine else None)

    @property
    def digest(self) -> str:
        """The manifest's digest: equal for equal data."""
        return self.manifest.digest

    @property
    def quarantine_digest(self) -> str:
        """sha256 of the rows that validation set apart; empty without a validation."""
        return file_sha256(self._quarantine) if self._quarantine else ""

    def table(self, kind: str, *, set: str | None = None, splits: Sequence[str] | None = None) -> pa.Table:
        """The rows of one kind of table, in the order in which they were prepared.

        Args:
            kind: captions, questions or statements, without the rows in quarantine; "quarantine" gives those, and
                "images" gives `image_info`, with `set` as the namespace.
            set: one public set; all sets of that kind when None.
            splits: splits of it; all when None.

        Raises:
            UserError: there is no such kind, set or split here; the message says what there is.
        """
        if kind not in SCHEMAS:
            raise UserError(f"there is no table {kind!r}; the tables are {', '.join(SCHEMAS)}")
        shards = [shard for shard in self.manifest.shards if shard.table == kind]
        if set is not None:
            self._check_known("set", [set], [shard.set for shard in shards], f"no {kind} of it", KIND_OF_SET.get(set))
            shards = [shard for shard in shards if shard.set == set]
        if splits is not None:
            what = f"no such split of {set or kind}"
            self._check_known("split", splits, [shard.split for shard in shards if shard.split], what)
            shards = [shard for shard in shards if shard.split in splits]
        if kind in ("images", "quarantine"):
            return self._read(kind, shards, _INFO_COLUMNS if kind == "images" else None)
        return pa.concat_tables(
            [self._without_quarantined(kind, [*of_set]) for _, of_set in groupby(shards, key=lambda shard: shard.set)]
            or [SCHEMAS[kind].empty_table()]
        )

    def image_info(self) -> pa.Table:
        """The table of pictures without their bytes."""
        return self.table("images")

    def _without_quarantined(self, kind: str, shards: list[Shard]) -> pa.Table:
        """The rows of one set's shards that readers may see."""
        rows = self._read(kind, shards, None)
        hidden = self._hidden_rows(shards[0].set)
        if len(hidden) == 0:
            return rows
        identifier = rows.column(0)
        return rows.filter(pc.invert(pc.is_in(identifier, hidden.cast(identifier.type))))

    def _hidden_rows(self, set_name: str) -> pa.ChunkedArray:
        """Identifiers of rows that are in the shards of a set and that nobody may see."""
        own = [shard for shard in self.manifest.shards if shard.table == "quarantine" and shard.set == set_name]
        quarantine = self._read("quarantine", own, None)
        hidden = quarantine.filter(pc.starts_with(quarantine["reason"], LEAK))["row_id"]
        if self._quarantine is not None:
            found = pq.read_table(self._quarantine, columns=["set", "row_id"], filters=[("set", "=", set_name)])
            hidden = pa.chunked_array([*hidden.chunks, *found["row_id"].chunks], pa.string())
        return hidden

    def _check_known(
        self, what: str, wanted: Sequence[str], known: Sequence[str], reason: str, kind: str | None = None
    ) -> None:
        for name in wanted:
            if name not in known:
                there_is = ", ".join(sorted({*known})) or "nothing"
                hint = f" ({name} has {kind})" if kind else ""
                raise UserError(
                    f"{what} {name!r}: {reason} in {self.path}{hint}, which holds {there_is}; "
                    "change the config, or prepare it"
                )

    def _read(self, kind: str, shards: list[Shard], columns: list[str] | None) -> pa.Table:
        schema = SCHEMAS[kind] if columns is None else pa.schema([SCHEMAS[kind].field(name) for name in columns])
        try:
            tables = [pq.read_table(self.path / shard.path, columns=columns, memory_map=True) for shard in shards]
            return pa.concat_tables([table.cast(schema) for table in tables] or [schema.empty_table()])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"a shard of {self.path} cannot be read ({error}); fetch the data set again") from None


class ImageStore:
    """Pictures by image_id, as slices of the mapped shards: `store["coco/391895"]` is the original file's bytes.

    It pickles as two paths; a worker process that receives it maps the shards and reads the identifiers when it first
    needs them.

    Args:
        folder: the prepared folder.
        shards: its shards of pictures, relative to it.
    """

    def __init__(self, folder: Path, shards: list[str]) -> None:
        self._folder = folder
        self._shards = shards
        self._index: _Index | None = None

    def __getitem__(self, image_id: str) -> bytes:
        """The picture's bytes.

        Raises:
            UserError: there is no such picture.
        """
        index = self._opened()
        row = index.rows.get(image_id)
        if row is None:
            raise UserError(
                f"there is no picture {image_id!r} in {self._folder}; its annotation and its pictures are not of the "
                "same data set, so prepare it again"
            )
        offset, size = int(index.offsets[row]), int(index.sizes[row])
        return index.maps[index.shards[row]][offset : offset + size]

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._opened().rows

    def __len__(self) -> int:
        return len(self._opened().rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened().rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_shards": self._shards, "_index": None}

    def _opened(self) -> "_Index":
        if self._index is None:
            self._index = _Index(self._folder, self._shards)
        return self._index


class _Index:
    """Where every picture lies: its row by image_id; by row its shard, offset and size in bytes."""

    def __init__(self, folder: Path, shards: list[str]) -> None:
        self.maps: list[mmap.mmap] = []
        self.rows: dict[str, int] = {}
        numbers, offsets, sizes = [], [], []
        for number, shard in enumerate(shards):
            path = folder / shard
            try:
                with path.open("rb") as file:
                    self.maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                shard_offsets, shard_sizes = _slices(path, self.maps[-1])
                identifiers = pq.read_table(path, columns=["image_id"]).column("image_id").to_pylist()
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                raise UserError(
                    f"shard {path} cannot be read ({error}); fetch the data set again or prepare it again"
                ) from None
            self.rows.update(zip(identifiers, range(len(self.rows), len(self.rows) + len(identifiers)), strict=True))
            numbers.append(np.full(len(shard_sizes), number, dtype=np.int32))
            offsets.append(shard_offsets)
            sizes.append(shard_sizes)
        self.shards: np.ndarray = np.concatenate(numbers) if numbers else np.empty(0, np.int32)
        self.offsets: np.ndarray = np.concatenate(offsets) if offsets else np.empty(0, np.int64)
        self.sizes: np.ndarray = np.concatenate(sizes) if sizes else np.empty(0, np.int64)


def _slices(path: Path, mapped: mmap.mmap) -> tuple[np.ndarray, np.ndarray]:
    """Offset and size of every picture of a shard, from its footer.

    A row group's pictures are one plain page: a short header, then for each its length (4 bytes, little endian) and its
    bytes, up to the end of the chunk.
    """
    metadata = pq.read_metadata(path)
    sizes = np.array(json.loads(metadata.metadata[PICTURE_SIZES]), dtype=np.int64)
    column = SCHEMAS["images"].get_field_index("bytes")
    offsets, first = [], 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunk, own = group.column(column), sizes[first : first + group.num_rows]
        ends = np.cumsum(own + 4) + chunk.data_page_offset + chunk.total_compressed_size - int((own + 4).sum())
        offsets.append(ends - own)
        first += group.num_rows
    starts = np.concatenate(offsets)
    for row in (0, len(sizes) - 1):
        if int.from_bytes(mapped[starts[row] - 4 : starts[row]], "little") != sizes[row]:
            raise ValueError("its pictures are not where its footer says")
    return starts, sizes
