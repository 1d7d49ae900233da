"""Broken files are refused with their name and the place in them."""

import gzip
import json
from pathlib import Path

import pytest

from eve_core.data.sources.json_files import read_json, read_json_lines
from eve_core.errors import UserError


def write(tmp_path: Path, data: bytes, name: str = "a.json") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_gzip_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + json.dumps({"a": "\u00e9"}).encode()
    assert read_json(write(tmp_path, text), "the file").text("a") == "\u00e9"
    assert read_json(write(tmp_path, gzip.compress(text, mtime=0), "a.json.gz"), "the file").text("a") == "\u00e9"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b'{"a": 1,\n "b"', r"a.json is not valid JSON \(line 2"),
        ("a.json", b"", "is not valid JSON"),
        ("a.json", b"[1]", "must be an object, not"),
        ("a.json", b'{"a": "\xe9"}', r"is not UTF-8 text \(byte 7\)"),
        ("a.json.gz", b"{}", "not a whole gzip file"),
        ("a.json.gz", gzip.compress(b'{"a": 1}' * 99, mtime=0)[:-9], "not a whole gzip file"),
    ],
)
def test_broken_json_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_json(write(tmp_path, data, name), "the file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the captions file .*nowhere.json does not exist"):
        read_json(tmp_path / "nowhere.json", "the captions file")


def test_lines_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a": 1}\n\n{"a": 2}\r\n{"a"\n')
    lines = read_json_lines(path, "the file")
    assert [next(lines).number("a"), next(lines).number("a")] == [1, 2]
    with pytest.raises(UserError, match="line 4 is not valid JSON"):
        next(lines)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, r"a.json, .list\[0\]: has no key key"),
        ({"key": 1}, r".list\[0\]: key must be a string, not 1"),
        ({"key": None}, "key must be a string, not None"),
        ({"key": "\ud800"}, "holds half of a character"),
    ],
)
def test_a_wrong_value_is_placed(tmp_path: Path, record: dict[str, object], message: str) -> None:
    content = read_json(write(tmp_path, json.dumps({"list": [record]}).encode()), "the file")
    with pytest.raises(UserError, match=message):
        next(content.records("list")).text("key")


@pytest.mark.parametrize("value", ["1", 1.5, True, 2**63])
def test_a_number_is_whole_and_fits(tmp_path: Path, value: object) -> None:
    content = read_json(write(tmp_path, json.dumps({"key": value}).encode()), "the file")
    with pytest.raises(UserError, match="must be a whole number"):
        content.number("key")
