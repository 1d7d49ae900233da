"""Folders that img2dataset wrote, in its three forms; also WebDataset archives without its Parquet files.

A folder holds shards. A shard NAME has its pictures in NAME.tar (webdataset), in the folder NAME (files) or in a column
of NAME.parquet (parquet), and in NAME.parquet a row for each address, whether or not it could be downloaded. Without
NAME.parquet the captions are the pictures' neighbours, KEY.txt.
"""

import os
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.data.locations import FilePart, Location, ParquetCell, read_bytes
from eve_core.data.sources.annotation import Annotation, Rejected
from eve_core.data.sources.bad_record import BadRecord, last_part
from eve_core.data.sources.web_rows import web_annotation, web_row_id, web_split
from eve_core.errors import UserError

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif")
"""Endings of picture files, which are also img2dataset's names for the column of pictures."""
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

_Samples = dict[str, dict[str, Location]]
"""By key and ending, such as jpg and txt, where a shard's files are."""
_Row = tuple[str, str, tuple[Location, ...]]
"""A caption, its picture's name, and where the picture is."""


def read(folders: list[Path], set_name: str) -> Iterator[Annotation | Rejected]:
    """Every sample of the folders' shards, in the order of their names.

    The split of a CC3M shard is the one in its name (cc3m-validation-0000.tar), else in its folder's.

    Raises:
        UserError: a folder has no shards, or an archive or a Parquet file is compressed, broken or without captions.
    """
    taken: set[str] = set()
    for folder in folders:
        for name in _shards(folder):
            split = web_split(set_name, name, folder.name)
            for found in _read_shard(folder / name, set_name, split):
                if isinstance(found, Annotation):
                    row_id = found.row["caption_id"]
                    if row_id in taken:
                        yield Rejected(row_id, "duplicate_id", f"{name}: the key {row_id} occurs twice", split)
                        continue
                    taken.add(row_id)
                yield found


def _shards(folder: Path) -> list[str]:
    names = set()
    for entry in folder.iterdir():
        if entry.name.endswith(_COMPRESSED):
            raise UserError(
                f"{entry} is compressed, so that its pictures cannot be read one by one; unpack it to a .tar"
            )
        if entry.suffix in (".tar", ".parquet") or (entry.is_dir() and entry.name.isdecimal()):
            names.add(entry.name.removesuffix(entry.suffix))
    if not names:
        raise UserError(f"{folder} holds no shards of img2dataset (00000.tar, 00000.parquet, 00000/); check the path")
    return sorted(names)


def _read_shard(shard: Path, set_name: str, split: str) -> Iterator[Annotation | Rejected]:
    samples: _Samples = defaultdict(dict)
    archive, table = shard.with_name(f"{shard.name}.tar"), shard.with_name(f"{shard.name}.parquet")
    if archive.exists():
        yield from _list_archive(archive, samples)
    elif shard.is_dir():
        yield from _list_folder(shard, samples)
    for key, row in _table_rows(table, samples) if table.exists() else _text_rows(shard, samples):
        if isinstance(row, BadRecord):
            yield row.rejected(web_row_id(key, split), split)
        else:
            yield web_annotation(set_name, split, key, *row)


def _list_folder(shard: Path, samples: _Samples) -> Iterator[Rejected]:
    """Fill `samples` with the files of a folder; yield those that are refused."""
    with os.scandir(shard) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    for name in names:
        where = f"{shard.name}, {name!r}"
        try:
            _refuse_unprintable(name, where)
        except BadRecord as error:
            yield error.rejected(where)
        else:
            file = shard / name
            samples[file.stem][file.suffix[1:].lower()] = file


def _refuse_unprintable(name: str, where: str) -> None:
    if not name.isprintable():
        raise BadRecord(where, "the name is not printable UTF-8 text", "not_utf8")


def _list_archive(path: Path, samples: _Samples) -> Iterator[Rejected]:
    """Fill `samples` with the members of a tar archive; yield those that are refused."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                try:
                    if not member.isdir():
                        _add_member(path, member, samples)
                except BadRecord as error:
                    yield error.rejected(f"{path.name}, {member.name!r}")
            end = FilePart(path, archive.offset, tarfile.BLOCKSIZE)
    except tarfile.TarError as error:
        raise UserError(f"{path} is no whole uncompressed tar archive ({error}); unpack it, or get it again") from None
    # Where a header is cut or damaged, tarfile stops without a word.
    if read_bytes(end) != bytes(tarfile.BLOCKSIZE):
        raise UserError(f"{path} is cut or damaged at byte {end.offset:,}; get it again")


def _add_member(path: Path, member: tarfile.TarInfo, samples: _Samples) -> None:
    where = f"{path.name}, {member.name!r}"
    _refuse_unprintable(member.name, where)
    if not member.isreg() or member.issparse():
        raise BadRecord(where, "is not a plain file", "not_a_file")
    # As WebDataset divides names: the key is all before the first dot of the last part.
    stem, _, ending = last_part(member.name, where).partition(".")
    files = samples[str(PurePosixPath(member.name).parent / stem)]
    if ending.lower() in files:
        raise BadRecord(where, "occurs twice", "duplicate_id")
    files[ending.lower()] = FilePart(path, member.offset_data, member.size)


def _table_rows(table: Path, samples: _Samples) -> Iterator[tuple[str, _Row | BadRecord]]:
    """The rows of a shard's table by their keys, and the pictures that it does not name."""
    for number, (column, values) in enumerate(_read_table(table)):
        where = f"{table.name}, row {number}"
        key, caption = values["key"], values["caption"]
        if not isinstance(key, str) or not isinstance(caption, str | bytes | None):
            yield where, BadRecord(where, "the key and the caption must be text")
            continue
        files = samples.pop(key, {})
        if isinstance(caption, bytes):
            yield key, BadRecord(where, "the caption is not UTF-8 text", "not_utf8")
        elif values["status"] != "success":
            yield key, BadRecord(where, f"{values['status']}: {values['error_message']}", "download_failed")
        elif column is not None:
            yield key, (caption or "", f"{key}.{column}", (ParquetCell(table, column, number),))
        else:
            yield key, _row(key, caption or "", files)
    for key, files in samples.items():
        if _picture_ending(files) is not None:
            yield key, BadRecord(table.name, f"has no row for the picture {key}", "no_caption")


def _read_table(table: Path) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The name of the column of pictures, if there is one, and a row's key, caption, status and error_message."""
    try:
        with pq.ParquetFile(table) as file:
            names = file.schema_arrow.names
            pictures = next((name for name in _PICTURES if name in names), None)
            text = "caption" if "caption" in names else "txt"
            for name in ("key", "status", text):
                if name not in names:
                    raise UserError(
                        f"{table} has no column {name}; run img2dataset with --caption_col and its metadata"
                    )
            columns = [name for name in ("key", "status", "error_message", text) if name in names]
            for batch in file.iter_batches(columns=columns):
                # Arrow decodes all texts of a batch or none.
                for row in batch.cast(_as_binary(batch.schema)).to_pylist():
                    decoded = {name: _decoded(value) for name, value in row.items()}
                    yield pictures, {"error_message": None, "caption": decoded.get(text), **decoded}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{table} is no whole Parquet file ({str(error).splitlines()[0]}); get it again") from None


def _as_binary(schema: pa.Schema) -> pa.Schema:
    texts = [pa.types.is_string(field.type) or pa.types.is_large_string(field.type) for field in schema]
    return pa.schema(
        [field.with_type(pa.large_binary()) if t else field for field, t in zip(schema, texts, strict=True)]
    )


def _decoded(value: Any) -> Any:
    """Bytes as text where they are UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _text_rows(shard: Path, samples: _Samples) -> Iterator[tuple[str, _Row | BadRecord]]:
    """The captions of a shard without a table, and the pictures that have none."""
    for key, files in samples.items():
        where = f"{shard.name}, {key}"
        if "txt" in files:
            try:
                yield key, _row(key, read_bytes(files["txt"]).decode("utf-8-sig"), files)
            except UnicodeDecodeError as error:
                yield key, BadRecord(where, f"the caption is not UTF-8 text (byte {error.start})", "not_utf8")
        elif _picture_ending(files) is not None:
            yield key, BadRecord(where, "the picture has no caption", "no_caption")


def _row(key: str, caption: str, files: dict[str, Location]) -> _Row:
    ending = _picture_ending(files)
    return (caption, key, ()) if ending is None else (caption, f"{key}.{ending}", (files[ending],))


def _picture_ending(files: dict[str, Location]) -> str | None:
    return next((ending for ending in _PICTURES if ending in files), None)
