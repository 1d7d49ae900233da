"""SBU, CC3M and CC12M: addresses of pictures on the web with captions, and the pictures that could be downloaded."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from eve_core.config import WebCaptionsSource
from eve_core.data.sources import img2dataset
from eve_core.data.sources.annotation import Annotation, Rejected, pictures_folder
from eve_core.data.sources.bad_record import BadRecord
from eve_core.data.sources.downloads import Download, find_downloads
from eve_core.data.sources.files import read_lines, stem
from eve_core.data.sources.json_files import Record, read_json
from eve_core.data.sources.web_rows import web_annotation, web_row_id, web_split
from eve_core.errors import UserError

_COLUMNS = {"cc3m": ["caption", "url"], "cc12m": ["url", "caption"]}


def read(source: WebCaptionsSource) -> Iterator[Annotation | Rejected]:
    """Every caption of the official files, or of the folders that img2dataset wrote, in their order.

    A caption's identifier is the number of its row, counted from 0, or its key in img2dataset's output; in CC3M's
    validation split it begins with val-.

    Raises:
        UserError: a file is missing or broken, files and folders are mixed, or two files are of one split.
    """
    folders = [path for path in source.annotations if path.is_dir()]
    if folders and len(folders) < len(source.annotations):
        raise UserError(f"{source.set} is given both as files and as img2dataset's output; name only one of the two")
    if folders:
        yield from img2dataset.read(folders, source.set)
    splits: dict[str, Path] = {}
    for path in source.annotations[len(folders) :]:
        split = web_split(source.set, stem(path))
        if split in splits:
            raise UserError(f"{splits[split]} and {path} both hold the split {split} of {source.set}; join them to one")
        splits[split] = path
        yield from _read_file(source, path, split)


def _read_file(source: WebCaptionsSource, path: Path, split: str) -> Iterator[Annotation | Rejected]:
    if source.images is None:
        raise UserError(f"{source.set} is given without the folder of its pictures; name it in images")
    folder = pictures_folder(source.images, source.set)
    read_rows = _read_sbu if source.set == "sbu" else partial(_read_tsv, columns=_COLUMNS[source.set])
    rows = partial(read_rows, path, split)
    locate = find_downloads(rows, folder, split)
    for row in rows():
        if isinstance(row, Rejected):
            yield row
            continue
        key = str(row.number)
        try:
            candidates = locate(row)
        except BadRecord as error:
            yield error.rejected(web_row_id(key, split), split)
        else:
            yield web_annotation(source.set, split, key, row.caption, candidates[0].name, candidates)


def _read_tsv(path: Path, split: str, columns: list[str]) -> Iterator[Download | Rejected]:
    number = last = 0
    for line in read_lines(path, "the captions file"):
        if line.number > last + 1:
            raise UserError(
                f"{path}, line {last + 1} is blank, and a downloader that names pictures by the number of a row may "
                "count it or not; put a tab into it if yours did, remove it if not (pandas and img2dataset do not)"
            )
        last = line.number
        try:
            fields = line.text().split("\t")
            head = [field.strip().lower() for field in fields]
            if number == 0 and sorted(head) == sorted(columns):
                columns = head  # what img2dataset asks for
                continue
            if len(fields) != len(columns):
                raise BadRecord(line.where, f"has {len(fields)} fields, not {' and '.join(columns)}")
        except BadRecord as error:
            yield error.rejected(web_row_id(str(number), split), split)
        else:
            yield Download(number, fields[columns.index("url")], fields[columns.index("caption")], line.where)
        number += 1


def _read_sbu(path: Path, split: str) -> Iterator[Download | Rejected]:
    content = read_json(path, "the captions file")
    urls, captions = content.values("image_urls"), content.values("captions")
    if len(urls) != len(captions):
        content.fail(f"has {len(urls):,} image_urls and {len(captions):,} captions")
    for number, (url, caption) in enumerate(zip(urls, captions, strict=True)):
        record = Record({"url": url, "caption": caption}, (path, f"row {number}"))
        try:
            yield Download(number, record.text("url"), record.text("caption"), record.where)
        except BadRecord as error:
            yield error.rejected(web_row_id(str(number), split), split)
