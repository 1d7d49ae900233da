"""Broken files are refused with their name; broken records with their place, and the rest is read."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from eve_core.data.sources.annotation import Annotation, Rejected
from eve_core.data.sources.bad_record import BadRecord
from eve_core.data.sources.json_files import Record, each, read_json, read_json_lines, read_json_list
from eve_core.errors import UserError


def write(tmp_path: Path, data: bytes, name: str = "a.json") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def first_record(tmp_path: Path, record: object) -> Record:
    content = read_json(write(tmp_path, json.dumps({"list": [record]}).encode()), "the file")
    return next(content.records("list"))


def test_gzip_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + json.dumps({"a": "\u00e9"}).encode()
    assert read_json(write(tmp_path, text), "the file").text("a") == "\u00e9"
    assert read_json(write(tmp_path, gzip.compress(text, mtime=0), "a.json.gz"), "the file").text("a") == "\u00e9"
    listed = b"\xef\xbb\xbf [" + text[3:] + b"]"
    assert [record.text("a") for record in read_json_list(write(tmp_path, listed), "the file")] == ["\u00e9"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b'{"a": 1,\n "b"', r"a.json is not valid JSON \(line 2"),
        ("a.json", b"", "is not valid JSON"),
        ("a.json", b'{"a": ' + b"1" * 5000 + b"}", "is not valid JSON"),
        ("a.json", b'{"a": ' + b"[" * 100_000, "is not valid JSON"),
        ("a.json", b"[1]", "must hold a JSON object, not"),
        ("a.json", b'{"a": "\xe9"}', r"is not UTF-8 text \(byte 7\)"),
        ("a.json.gz", b"{}", "not a whole gzip file"),
        ("a.json.gz", gzip.compress(b'{"a": 1}' * 99, mtime=0)[:-9], "not a whole gzip file"),
    ],
)
def test_broken_json_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_json(write(tmp_path, data, name), "the file")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}', "must hold a JSON list; is it the file"),
        (b"", "must hold a JSON list"),
        (b"[" + b"1" * 5000 + b"]", "is not valid JSON"),
        (b'[{"a": 1}, {"a"', "is not valid JSON"),
        (b'[{"a": 1}] x', "is not valid JSON"),
        (b'[{"a": "\xe9"}]', r"is not valid JSON|is not UTF-8"),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_json_list(write(tmp_path, data), "the file"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the captions file .*nowhere.json does not exist"):
        read_json(tmp_path / "nowhere.json", "the captions file")


def test_a_broken_line_does_not_end_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a": 1}\n\n{"a": "\xe9"}\n{"a"\r\n{"a": 5}\n7\n')
    found = list(each(read_json_lines(path, "the file"), "a", lambda record: [annotation(record)], "dev"))
    assert [one.row["a"] for one in found if isinstance(one, Annotation)] == [1, 5]
    rejected = [one for one in found if isinstance(one, Rejected)]
    assert [(one.row_id, one.reason, one.split) for one in rejected] == [
        ("a.json, line 3", "not_utf8", "dev"),
        ("a.json, line 4", "not_json", "dev"),
        ("a.json, line 6", "bad_record", "dev"),
    ]


def annotation(record: Record) -> Annotation:
    return Annotation({"a": record.number("a")}, ())


def test_records_inside_of_records_are_rejected_one_by_one(tmp_path: Path) -> None:
    content = [{"id": 1, "list": [{"a": 1}, {"a": "x"}]}, {"id": 2}, 3, {"id": 4, "list": [{"a": 4}]}]
    records = read_json_list(write(tmp_path, json.dumps(content).encode()), "the file")

    def inner(record: Record) -> Iterable[Annotation | Rejected]:
        return each(record.records("list"), "a", lambda one: [annotation(one)])

    found = list(each(records, "id", inner))
    assert [one.row["a"] for one in found if isinstance(one, Annotation)] == [1, 4]
    rejected = [one for one in found if isinstance(one, Rejected)]
    assert [one.row_id for one in rejected] == ["x", "2", "a.json, [2]"]
    assert rejected[0].detail == "a.json, [0].list[1]: a must be a whole number, not 'x'"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, r"a.json, .list\[0\]: has no key key"),
        ({"key": 1}, r".list\[0\]: key must be a string, not 1"),
        ({"key": None}, "key must be a string, not None"),
        ({"key": "\ud800"}, "holds half of a character"),
        ([], "must be an object"),
    ],
)
def test_a_wrong_value_is_placed(tmp_path: Path, record: object, message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        first_record(tmp_path, record).text("key")


@pytest.mark.parametrize("value", ["1", 1.5, True, 2**63])
def test_a_number_is_whole_and_fits(tmp_path: Path, value: object) -> None:
    with pytest.raises(BadRecord, match="must be a whole number"):
        first_record(tmp_path, {"key": value}).number("key")


def test_a_key_that_the_whole_file_lacks_is_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no key list; is this the file") as refusal:
        read_json(write(tmp_path, b"{}"), "the file").records("list")
    assert not isinstance(refusal.value, BadRecord)


def test_a_file_whose_list_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="list is empty; is this the file"):
        read_json(write(tmp_path, b'{"list": []}'), "the file").records("list")


def test_an_identifier_is_claimed_once(tmp_path: Path) -> None:
    record, taken = first_record(tmp_path, {"key": 7}), set[int]()
    assert record.claim(7, taken) == 7
    with pytest.raises(BadRecord, match="the identifier 7 occurs twice") as refusal:
        record.claim(7, taken)
    assert refusal.value.rejected("7").reason == "duplicate_id"
