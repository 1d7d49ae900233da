"""Opening the text files of public sets, compressed or not, and reading them line by line."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from eve_core.data.sources.bad_record import BadRecord
from eve_core.errors import UserError, existing_file

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@contextmanager
def opened(path: Path, what: str) -> Iterator[BufferedReader | gzip.GzipFile]:
    """The bytes of a file behind its byte order mark, unpacked where its name ends in .gz.

    Args:
        path: the file.
        what: what it is, for complaints ("the questions file").

    Raises:
        UserError: there is no such file, or it is not a whole gzip file.
    """
    existing_file(path, what)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            if file.peek(3)[:3] == _BYTE_ORDER_MARK:
                file.read(3)
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file; copy {what} again from where it came") from None


@dataclass(frozen=True)
class Line:
    """One line of a text file."""

    path: Path
    number: int
    """Counted from 1."""
    content: bytes
    """Without its end."""

    @property
    def where(self) -> str:
        """Its place in words, the same wherever the file is: "captions.tsv, line 3"."""
        return f"{self.path.name}, line {self.number}"

    def text(self) -> str:
        """Its characters.

        Raises:
            BadRecord: they are not UTF-8.
        """
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise BadRecord(self.where, f"is not UTF-8 text (byte {error.start})", "not_utf8") from None


def read_lines(path: Path, what: str) -> Iterator[Line]:
    """The lines of a file that are not blank; one with a tab is not: it parts two empty fields.

    Raises:
        UserError: there are none, or see `opened`.
    """
    line = None
    with opened(path, what) as file:
        for number, content in enumerate(file, start=1):
            if content.strip(b" \r\n"):
                line = Line(path, number, content.rstrip(b"\r\n"))
                yield line
    if line is None:
        raise UserError(f"{path} is empty; copy {what} again from where it came")


def stem(path: Path) -> str:
    """The file's name without .gz and the ending before it."""
    return Path(path.name.removesuffix(".gz")).stem


def split_in(text: str) -> str | None:
    """The split that a name or another text speaks of: train, test, or val, which Flickr8k calls dev."""
    for word, split in (("train", "train"), ("test", "test"), ("val", "val"), ("dev", "val")):
        if word in text.lower():
            return split
    return None
