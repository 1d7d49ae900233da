"""Lines of text files, compressed or not, and names that stay in their folder."""

import gzip
from pathlib import Path

import pytest

from eve_core.data.sources.bad_record import BadRecord, last_part
from eve_core.data.sources.files import read_lines, split_in, stem
from eve_core.errors import UserError


def write(tmp_path: Path, data: bytes, name: str = "a.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_lines_are_counted_and_blank_ones_passed_over(tmp_path: Path) -> None:
    lines = list(read_lines(write(tmp_path, b"\xef\xbb\xbfa\tb\r\n\n \nc\n\t\n"), "the file"))
    assert [(line.number, line.text()) for line in lines] == [(1, "a\tb"), (4, "c"), (5, "\t")]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\n \n"):
        with pytest.raises(UserError, match=r"a.tsv is empty; copy the file again"):
            list(read_lines(write(tmp_path, data), "the file"))


def test_a_line_that_is_not_utf8_leaves_the_others_readable(tmp_path: Path) -> None:
    first, second = read_lines(write(tmp_path, b"caf\xe9\nb\n"), "the file")
    with pytest.raises(BadRecord, match=r"a.tsv, line 1: is not UTF-8 text \(byte 3\)"):
        first.text()
    assert second.text() == "b"


@pytest.mark.parametrize("data", [b"text", gzip.compress(b"text\n" * 99, mtime=0)[:-9]])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match="not a whole gzip file; copy the list again"):
        list(read_lines(write(tmp_path, data, "a.txt.gz"), "the list"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Train_GCC-training", "train"),
        ("Validation_GCC-1.1.0-Validation", "val"),
        ("Flickr_8k.devImages", "val"),
        ("v2_OpenEnded_mscoco_test-dev2015_questions", "test"),
        ("cc12m", None),
    ],
)
def test_the_split_in_a_name(name: str, expected: str | None) -> None:
    assert split_in(name) == expected


def test_the_stem_is_without_both_endings() -> None:
    assert stem(Path("captions_train2014.json.gz")) == stem(Path("captions_train2014.json")) == "captions_train2014"


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_a_path_outside_of_its_folder_is_refused(path: str) -> None:
    with pytest.raises(BadRecord) as refusal:
        last_part(path, "x.json, [0]")
    assert refusal.value.rejected("7").reason == "path_outside"


@pytest.mark.parametrize("path", ["", ".", "a" * 300])
def test_what_no_file_can_be_called_is_refused(path: str) -> None:
    with pytest.raises(BadRecord, match="is no name of a file"):
        last_part(path, "x.json, [0]")
