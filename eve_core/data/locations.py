"""Where the bytes of a picture are: a file, a member of a tar archive, or a cell of a Parquet file."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes inside another file, such as a member of an uncompressed tar archive."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """One value of a binary column."""

    path: Path
    column: str
    row: int


Location = Path | FilePart | ParquetCell


def read_bytes(location: Location) -> bytes:
    """The bytes at `location`.

    Raises:
        OSError: they cannot be read.
    """
    if isinstance(location, FilePart):
        with location.path.open("rb") as file:
            file.seek(location.offset)
            return file.read(location.size)
    if isinstance(location, ParquetCell):
        return _read_cell(location)
    return location.read_bytes()


def exists(location: Location) -> bool:
    """Whether there is a file at `location`."""
    return (location if isinstance(location, Path) else location.path).is_file()


def as_json(location: Location) -> list[Any]:
    """`location` as JSON can hold it."""
    match location:
        case FilePart(path, offset, size):
            return [str(path), offset, size]
        case ParquetCell(path, column, row):
            return [str(path), column, row]
    return [str(location)]


def from_json(value: list[Any]) -> Location:
    """The inverse of `as_json`."""
    match value:
        case [path, int(offset), size]:
            return FilePart(Path(path), offset, size)
        case [path, column, row]:
            return ParquetCell(Path(path), column, row)
    return Path(value[0])


def _read_cell(cell: ParquetCell) -> bytes:
    row = cell.row
    for group, rows in enumerate(_rows_by_group(cell.path)):
        if row < rows:
            return _read_group(cell.path, cell.column, group)[row].as_py() or b""
        row -= rows
    raise OSError(f"{cell.path} has no row {cell.row}")


@lru_cache(maxsize=64)
def _rows_by_group(path: Path) -> list[int]:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


# Rows are read in order, so that the last groups serve nearly every call.
@lru_cache(maxsize=4)
def _read_group(path: Path, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read_row_group(group, columns=[column]).column(column)
