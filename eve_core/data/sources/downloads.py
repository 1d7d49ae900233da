"""Finding the pictures that somebody downloaded from a list of addresses.

Downloaders name a file by the number of its row, from 0 (with zeros in front or not, or, as in ViLT's layout, below its
first four digits), by the address's last part (SBU's, also below the part before it), by a hash of the address (md5,
sha1, sha256; crc32 in the script DownloadConceptualCaptions), or by number and crc32 (LAVIS); endings come and go. A
name means different rows in different conventions, so a folder is taken to follow one: that by which most pictures are
found of the first rows, counted from the first that has one.
"""

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eve_core.data.sources.annotation import Rejected
from eve_core.data.sources.bad_record import BadRecord, last_part

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_SUBFOLDERS = {"train": ("train", "training", "images_train"), "val": ("val", "validation", "images_val")}
_ROWS_TO_TRY = 5_000
_ENOUGH_FOUND = 100


class Download(NamedTuple):
    """A row of a list of addresses."""

    number: int
    """Its place among the rows, from 0."""
    url: str
    caption: str
    where: str
    """Its place in words."""


Rows = Callable[[], Iterator[Download | Rejected]]
_Naming = Callable[[Download], str]


def _numbered(width: int) -> _Naming:
    return lambda row: str(row.number).zfill(width)


def _hashed(name: str) -> _Naming:
    return lambda row: hashlib.new(name, row.url.encode(), usedforsecurity=False).hexdigest()


def _crc(row: Download) -> str:
    return str(zlib.crc32(row.url.encode()))


_UNIQUE: tuple[_Naming, ...] = (
    *(_numbered(width) for width in range(1, 10)),
    lambda row: f"{row.number:07d}"[:4] + f"/{row.number:07d}",
    lambda row: f"{row.number}_{_crc(row)}",
    *(_hashed(name) for name in ("md5", "sha1", "sha256")),
)
_SHARED: tuple[_Naming, ...] = (
    _crc,
    lambda row: row.url.rpartition("/")[2],
    lambda row: row.url.partition("?")[0].rpartition("/")[2],
    lambda row: "/".join(row.url.split("/")[-2:]),
)
"""Conventions in which different addresses can have one name."""


def find_downloads(rows: Rows, folder: Path, split: str) -> Callable[[Download], tuple[Path, ...]]:
    """Where the pictures of rows are.

    Args:
        rows: reads the list from its beginning.
        folder: the pictures, directly or in a sub-folder named after the split.
        split: train or val.

    Returns:
        A function from a row to the paths that its picture may have, at least one. It raises BadRecord for a row whose
        picture cannot be told from that of another address, or whose path would be outside of the folder.
    """
    endings = _endings(folder)
    folder, name_of = _convention(rows, folder, split, endings)
    shared = _shared_names(rows, name_of) if name_of in _SHARED else set()

    def locate(row: Download) -> tuple[Path, ...]:
        name = name_of(row)
        last_part(name, row.where)
        if hash(name) in shared:
            raise BadRecord(row.where, f"another address has the file name {name} too", "ambiguous_picture")
        return tuple(folder / f"{name}{ending}" for ending in endings)

    return locate


def _endings(folder: Path) -> list[str]:
    """The endings that files in the folder have beyond what a convention calls them."""
    found = {os.path.splitext(name)[1] for _, _, names in os.walk(folder) for name in names}
    return ["", *(spelled for ending in _ENDINGS for spelled in sorted(found) if spelled.lower() == ending)]


def _convention(rows: Rows, folder: Path, split: str, endings: list[str]) -> tuple[Path, _Naming]:
    folders = [folder, *(folder / name for name in _SUBFOLDERS[split] if (folder / name).is_dir())]
    ways = list(product(folders, _UNIQUE + _SHARED))
    found: Counter[int] = Counter()
    tried = 0
    for row in rows():
        if isinstance(row, Download):
            for way, (place, name_of) in enumerate(ways):
                path = f"{place}/{name_of(row)}"
                found[way] += any(os.path.isfile(path + ending) for ending in endings)
        most = max(found.values(), default=0)
        tried += most > 0
        if most == _ENOUGH_FOUND or tried == _ROWS_TO_TRY:
            break
    # The first of those by which most are found.
    return ways[max(found, key=lambda way: (found[way], -way), default=0)]


def _shared_names(rows: Rows, name_of: _Naming) -> set[int]:
    """Hashes of the names that more than one address has."""
    pairs = ((hash(name_of(row)), hash(row.url)) for row in rows() if isinstance(row, Download))
    distinct = np.unique(np.fromiter(pairs, dtype=[("name", np.int64), ("url", np.int64)]))
    names, counts = np.unique(distinct["name"], return_counts=True)
    return set(names[counts > 1].tolist())
