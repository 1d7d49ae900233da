"""Reading JSON, JSON lines (.gz too) and long JSON lists so that every complaint names the file and the record."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from eve_core.data.sources.annotation import Annotation, Rejected
from eve_core.data.sources.bad_record import BadRecord, last_part
from eve_core.data.sources.files import opened, read_lines
from eve_core.errors import UserError

Id = TypeVar("Id", int, str)
_JSON_RAISES = (ValueError, RecursionError)
"""What parsing raises: also for a number of thousands of digits, and for brackets nested as deep."""


class Record:
    """A JSON object and its place in a file; a key that is missing or of another type raises BadRecord.

    The object that a whole file is raises UserError instead: without its keys nothing of the file can be read.

    Args:
        value: what was parsed; it is looked at only when a key is asked for, and refused then if it is no object.
        place: where, as the file and the steps into it (".annotations", "[3]"); joined only for a complaint.
    """

    __slots__ = ("_place", "_value")

    def __init__(self, value: Any, place: tuple[Any, ...]) -> None:
        self._place = place
        self._value = value

    @property
    def where(self) -> str:
        """The place in words, the same wherever the file is: "captions.json, .annotations[3]"."""
        return f"{self._place[0].name}, {''.join(str(step) for step in self._place[1:])}".removesuffix(", ")

    def __contains__(self, key: str) -> bool:
        return key in self._object()

    def keys(self) -> list[str]:
        """What there is."""
        return list(self._object())

    def get(self, key: str) -> Any:
        """Whatever is under `key`; None when it is missing."""
        return self._object().get(key)

    def text(self, key: str) -> str:
        """A string."""
        return self._whole(key, self._typed(key, str, "a string"))

    def number(self, key: str) -> int:
        """A whole number of at most 64 bits."""
        value: int = self._typed(key, int, "a whole number")
        if isinstance(value, bool) or abs(value) >= 2**63:
            self.fail(f"{key} must be a whole number of at most 64 bits, not {value}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A string, or None when the key is missing or null."""
        return None if self.get(key) is None else self.text(key)

    def optional_number(self, key: str) -> int | None:
        """A whole number, or None when the key is missing or null."""
        return None if self.get(key) is None else self.number(key)

    def values(self, key: str) -> list[Any]:
        """A list of anything."""
        values: list[Any] = self._typed(key, list, "a list")
        return values

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        return [self._whole(key, value) for value in self.values(key)]

    def records(self, key: str) -> Iterator["Record"]:
        """The objects of a list."""
        values = self.values(key)
        if not values and len(self._place) == 1:
            self.fail(f"{key} is empty")
        return (Record(value, (*self._place, f".{key}", f"[{index}]")) for index, value in enumerate(values))

    def file_name(self, key: str) -> str:
        """The last part of the relative path of a file; the path must not lead out of its folder."""
        return last_part(self.text(key), f"{self.where}, {key}")

    def claim(self, identifier: Id, taken: set[Id]) -> Id:
        """Add this record's identifier to those that are taken; it must not be among them."""
        if identifier in taken:
            self.fail(f"the identifier {identifier} occurs twice", "duplicate_id")
        taken.add(identifier)
        return identifier

    def row_id(self, key: str) -> str:
        """What is under `key`, or the record's place where it has nothing that could be an identifier."""
        value = self._value.get(key) if isinstance(self._value, dict) else None
        # Half of a character cannot be stored, so it is spelled out.
        return str(value).encode(errors="backslashreplace").decode() if isinstance(value, int | str) else self.where

    def fail(self, problem: str, reason: str = "bad_record") -> NoReturn:
        """Raise BadRecord about this record, or UserError where it is the whole file."""
        if len(self._place) == 1:
            raise UserError(f"{self._place[0]}: {problem}; is this the file that the config says it is?")
        raise BadRecord(self.where, problem, reason)

    def _object(self) -> dict[str, Any]:
        if not isinstance(self._value, dict):
            self.fail(f"must be an object, not {_shortened(self._value)}")
        return self._value

    def _whole(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            self.fail(f"{key} must hold strings, not {_shortened(value)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{key} holds half of a character ({_shortened(value)})")
        return value

    def _typed(self, key: str, kind: type, name: str) -> Any:
        if key not in self._object():
            self.fail(f"has no key {key}")
        value = self._value[key]
        if not isinstance(value, kind):
            self.fail(f"{key} must be {name}, not {_shortened(value)}")
        return value


def each(
    records: Iterable[Record | Rejected],
    key: str,
    read: Callable[[Record], Iterable[Annotation | Rejected]],
    split: str | None = None,
) -> Iterator[Annotation | Rejected]:
    """What `read` makes of every record; where it raises BadRecord, that record is rejected.

    Args:
        records: the records, and what was no record.
        key: where their identifiers are.
        read: may call `each` again for the records inside of one.
        split: the records' split, where it is known.
    """
    for record in records:
        if isinstance(record, Rejected):
            yield replace(record, split=split)
            continue
        try:
            yield from read(record)
        except BadRecord as error:
            yield error.rejected(record.row_id(key), split)


def read_json(path: Path, what: str, *, unique: bool = False) -> Record:
    """The object that a JSON file holds.

    Args:
        path: a .json or .json.gz file, in UTF-8 with or without a byte order mark.
        what: what it is, for complaints ("the questions file").
        unique: refuse a key that an object has twice, of which JSON would take the last.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{path} has the key {key} twice; is it {what}?")
            found[key] = value
        return found

    with opened(path, what) as file:
        data = file.read()
    try:
        value = json.loads(data.decode(), object_pairs_hook=once if unique else None)
    except UserError:
        raise
    except _JSON_RAISES as error:
        raise _unreadable(path, what, error) from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, not {_shortened(value)}; is it {what}?")
    return Record(value, (path,))


def read_json_list(path: Path, what: str) -> Iterator[Record]:
    """The elements of the list that a JSON file holds, one at a time: Visual Genome's fill most of a gigabyte."""
    import ijson

    with opened(path, what) as file:
        if file.peek(64).lstrip()[:1] != b"[":
            raise UserError(f"{path} must hold a JSON list; is it {what}?")
        try:
            for number, value in enumerate(ijson.items(file, "item", use_float=True)):
                yield Record(value, (path, f"[{number}]"))
        except (*_JSON_RAISES, ijson.JSONError) as error:
            raise _unreadable(path, what, error) from None


def read_json_lines(path: Path, what: str) -> Iterator[Record | Rejected]:
    """The objects of a file with one JSON object a line, and what the other lines are rejected for."""
    for line in read_lines(path, what):
        try:
            yield Record(json.loads(line.text()), (path, f"line {line.number}"))
        except BadRecord as error:
            yield error.rejected(line.where)
        except _JSON_RAISES as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else error
            yield BadRecord(line.where, f"is not valid JSON ({problem})", "not_json").rejected(line.where)


def _unreadable(path: Path, what: str, error: Exception) -> UserError:
    if isinstance(error, UnicodeDecodeError):
        problem = f"UTF-8 text (byte {error.start})"
    elif isinstance(error, json.JSONDecodeError):
        problem = f"valid JSON (line {error.lineno}: {error.msg})"
    else:
        problem = f"valid JSON ({str(error).splitlines()[0]})"
    return UserError(f"{path} is not {problem}; copy {what} again from where it came")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
