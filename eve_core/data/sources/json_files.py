"""Reading JSON and JSON lines (.gz too) so that every complaint names the file and the record."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from eve_core.errors import UserError, existing_file


class Record:
    """A JSON object and its place in a file; a key that is missing or of another type raises UserError.

    Args:
        value: what was parsed.
        place: where, as the file and the steps into it (".annotations", "[3]"); joined only for a complaint.
    """

    __slots__ = ("_place", "_value")

    def __init__(self, value: Any, place: tuple[Any, ...]) -> None:
        self._place = place
        if not isinstance(value, dict):
            self.fail(f"must be an object, not {_shortened(value)}")
        self._value = value

    @property
    def where(self) -> str:
        """The place in words: "captions.json, .annotations[3]"."""
        return f"{self._place[0]}, {''.join(str(step) for step in self._place[1:])}".removesuffix(", ")

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def text(self, key: str) -> str:
        """A string."""
        value: str = self._typed(key, str, "a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{key} holds half of a character ({_shortened(value)})")
        return value

    def number(self, key: str) -> int:
        """A whole number of at most 64 bits."""
        value: int = self._typed(key, int, "a whole number")
        if isinstance(value, bool) or abs(value) >= 2**63:
            self.fail(f"{key} must be a whole number of at most 64 bits, not {value}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A string, or None when the key is missing or null."""
        return None if self._value.get(key) is None else self.text(key)

    def optional_number(self, key: str) -> int | None:
        """A whole number, or None when the key is missing or null."""
        return None if self._value.get(key) is None else self.number(key)

    def records(self, key: str) -> Iterator["Record"]:
        """The objects of a list."""
        for index, value in enumerate(self._typed(key, list, "a list")):
            yield Record(value, (*self._place, f".{key}", f"[{index}]"))

    def fail(self, problem: str) -> NoReturn:
        """Raise UserError about this record."""
        raise UserError(f"{self.where}: {problem}; is this the file that the config says it is?")

    def _typed(self, key: str, kind: type, name: str) -> Any:
        if key not in self._value:
            self.fail(f"has no key {key}")
        value = self._value[key]
        if not isinstance(value, kind):
            self.fail(f"{key} must be {name}, not {_shortened(value)}")
        return value


def read_json(path: Path, what: str) -> Record:
    """The object that a JSON file holds.

    Args:
        path: a .json or .json.gz file, in UTF-8 with or without a byte order mark.
        what: what it is, for complaints ("the questions file").
    """
    text = _read_text(path, what)
    try:
        return Record(json.loads(text), (path,))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}); copy {what} again from where it came"
        ) from None


def read_json_lines(path: Path, what: str) -> Iterator[Record]:
    """The objects of a file with one JSON object a line; empty lines are skipped."""
    for number, line in enumerate(_read_text(path, what).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number} is not valid JSON ({error.msg}); copy {what} again from where it came"
            ) from None
        yield Record(value, (path, f"line {number}"))


def stem(path: Path) -> str:
    """The file's name without .json, .jsonl or .gz."""
    return path.name.removesuffix(".gz").removesuffix(".json").removesuffix(".jsonl")


def _read_text(path: Path, what: str) -> str:
    existing_file(path, what)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file; copy {what} again from where it came") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}); copy {what} again from where it came"
        ) from None


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
