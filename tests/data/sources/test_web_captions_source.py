"""SBU, CC3M and CC12M as official files, and the pictures that somebody downloaded."""

import hashlib
import zlib
from pathlib import Path

import pytest

from eve_core.config import WebCaptionsSource
from eve_core.data.locations import exists
from eve_core.data.sources import downloads
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rows, write_json

URLS = [f"http://host/{2700 + n}/{n}_photo.jpg?w={n}" for n in range(12)]
CRC = [zlib.crc32(url.encode()) for url in URLS]


def tsv(tmp_path: Path, *lines: bytes, name: str = "Train_GCC-training.tsv", set_name: str = "cc3m") -> Found:
    (tmp_path / name).write_bytes(b"\n".join(lines) + b"\n")
    return read_all(
        WebCaptionsSource.model_validate(
            {"set": set_name, "annotations": [tmp_path / name], "images": tmp_path / "images"}
        )
    )


def touch(tmp_path: Path, *names: str) -> None:
    (tmp_path / "images").mkdir(exist_ok=True)
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()


def test_cc3m_has_the_caption_first_and_cc12m_the_address(tmp_path: Path) -> None:
    touch(tmp_path)
    [first] = rows(tsv(tmp_path, b"a dog\thttp://host/a.jpg"))
    assert first == {"caption_id": "0", "image_id": "cc3m/0", "caption": "a dog", "split": "train"}
    [second] = rows(tsv(tmp_path, b"http://host/a.jpg\ta cat", name="cc12m.tsv", set_name="cc12m"))
    assert second == {"caption_id": "0", "image_id": "cc12m/0", "caption": "a cat", "split": "train"}


def test_rows_of_the_validation_split_have_identifiers_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path)
    [row] = rows(tsv(tmp_path, b"a dog\thttp://host/a.jpg", name="Validation_GCC-1.1.0-Validation.tsv"))
    assert row == {"caption_id": "val-0", "image_id": "cc3m/val-0", "caption": "a dog", "split": "val"}


def test_a_head_names_the_columns_and_is_no_row(tmp_path: Path) -> None:
    touch(tmp_path)
    for head in (b"\xef\xbb\xbfurl\tcaption", b"URL\t Caption "):
        found = tsv(tmp_path, head, b"http://host/a.jpg\ta dog", b"http://host/b.jpg\ta cat", b"", b"")
        assert [(row["caption_id"], row["caption"]) for row in rows(found)] == [("0", "a dog"), ("1", "a cat")]


def test_a_blank_line_shifts_no_caption_to_another_picture(tmp_path: Path) -> None:
    touch(tmp_path)
    lines = [b"a\thttp://host/a.jpg", b"\t", b"c\thttp://host/c.jpg"]
    assert [(row["caption_id"], row["caption"]) for row in rows(tsv(tmp_path, *lines))][-1] == ("2", "c")
    with pytest.raises(UserError, match=r"training.tsv, line 2 is blank.*; put a tab into it"):
        tsv(tmp_path, lines[0], b" ", lines[2])


def test_quotes_are_letters_of_a_caption(tmp_path: Path) -> None:
    touch(tmp_path)
    lines = [b'"a dog\thttp://host/a.jpg', b'a "cat"\thttp://host/b.jpg']
    assert [row["caption"] for row in rows(tsv(tmp_path, *lines))] == ['"a dog', 'a "cat"']


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a dog", "bad_record"),
        (b"a\tdog\thttp://host/a.jpg", "bad_record"),
        (b"caf\xe9\thttp://host/a.jpg", "not_utf8"),
    ],
)
def test_a_wrong_line_is_rejected_and_keeps_its_number(tmp_path: Path, line: bytes, reason: str) -> None:
    touch(tmp_path)
    found = tsv(tmp_path, b"a\thttp://host/a.jpg", line, b"c\thttp://host/c.jpg")
    assert reasons(found) == [("1", reason)]
    assert [row["caption_id"] for row in rows(found)] == ["0", "2"]


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}.jpg" for n in range(12)],
        [f"{n:08d}.png" for n in range(12)],
        [f"images_train/0000/{n:07d}" for n in range(12)],
        [f"training/{crc}" for crc in CRC],
        [f"{n}_{crc}.jpg" for n, crc in enumerate(CRC)],
        [hashlib.md5(url.encode()).hexdigest() + ".webp" for url in URLS],
        [url.rpartition("/")[2] for url in URLS],
        [url.rpartition("/")[2].partition("?")[0] for url in URLS],
        ["/".join(url.split("/")[-2:]) for url in URLS],
    ],
    ids=["number", "padded", "vilt", "crc", "number_crc", "md5", "last_part", "without_query", "two_parts"],
)
def test_every_convention_of_downloaders_is_recognised(tmp_path: Path, names: list[str]) -> None:
    missing = {2, 7}
    touch(tmp_path, *(name for number, name in enumerate(names) if number not in missing))
    found = annotations(tsv(tmp_path, *(f"a dog\t{url}".encode() for url in URLS)))
    for number, annotation in enumerate(found):
        there = [place for place in annotation.pictures[0].candidates if exists(place)]
        assert there == ([] if number in missing else [tmp_path / "images" / names[number]])


def test_endings_in_capitals_are_endings(tmp_path: Path) -> None:
    touch(tmp_path, "0.JPG", "1.Jpeg")
    found = annotations(tsv(tmp_path, *(f"a dog\t{url}".encode() for url in URLS[:2])))
    assert all(any(exists(place) for place in one.pictures[0].candidates) for one in found)


def test_a_sample_from_the_middle_of_the_list_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_ROWS_TO_TRY", 5)
    touch(tmp_path, *(f"{n:08d}.jpg" for n in (8, 9, 10)))
    found = annotations(tsv(tmp_path, *(f"a dog\t{url}".encode() for url in URLS)))
    there = [any(exists(place) for place in one.pictures[0].candidates) for one in found]
    assert there == [number in (8, 9, 10) for number in range(12)]


def test_a_number_is_not_taken_for_the_hash_of_another_row(tmp_path: Path) -> None:
    # A file called 5 is row 5's by number, but here all the others are named by hash.
    touch(tmp_path, "5", *(str(crc) for number, crc in enumerate(CRC) if number != 5))
    found = annotations(tsv(tmp_path, *(f"a dog\t{url}".encode() for url in URLS)))
    assert not any(exists(place) for place in found[5].pictures[0].candidates)


def test_a_name_that_two_addresses_share_is_nobodys(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    urls = ["http://one/a.jpg", "http://two/a.jpg", "http://one/b.jpg", "http://one/b.jpg"]
    found = tsv(tmp_path, *(f"a dog\t{url}".encode() for url in urls))
    assert reasons(found) == [("0", "ambiguous_picture"), ("1", "ambiguous_picture")]
    assert [row["caption_id"] for row in rows(found)] == ["2", "3"]


def test_an_address_that_leads_outside_is_rejected(tmp_path: Path) -> None:
    touch(tmp_path, "1/a.jpg", "2/b.jpg")
    urls = ["http://host/1/a.jpg", "http://host/2/b.jpg", "http://host/../c.jpg"]
    found = tsv(tmp_path, *(f"a dog\t{url}".encode() for url in urls))
    assert reasons(found) == [("2", "path_outside")]


def sbu(tmp_path: Path, urls: list[object], captions: list[object]) -> Found:
    content = {"image_urls": urls, "user_ids": ["x"] * len(urls), "captions": captions}
    path = write_json(tmp_path / "sbu-captions-all.json", content)
    return read_all(WebCaptionsSource(set="sbu", annotations=[path], images=tmp_path / "images"))


def test_sbu_is_lists_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "4385058960_b0f291553e.jpg")
    found = sbu(tmp_path, ["http://static.flickr.com/2723/4385058960_b0f291553e.jpg"], ["a wooden chair"])
    [annotation] = annotations(found)
    assert annotation.row == {
        "caption_id": "0",
        "image_id": "sbu/0",
        "caption": "a wooden chair",
        "split": "train",
    }
    assert annotation.pictures[0].name == "4385058960_b0f291553e.jpg"
    assert [place for place in annotation.pictures[0].candidates if exists(place)] == [
        tmp_path / "images/4385058960_b0f291553e.jpg"
    ]


def test_a_wrong_row_of_sbu_is_rejected(tmp_path: Path) -> None:
    touch(tmp_path)
    found = sbu(tmp_path, ["http://h/1.jpg", None, "http://h/3.jpg"], ["a", "b", "half \ud83d"])
    assert reasons(found) == [("1", "bad_record"), ("2", "bad_record")]
    with pytest.raises(UserError, match="has 1 image_urls and 2 captions"):
        sbu(tmp_path, ["http://h/1.jpg"], ["a", "b"])


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    touch(tmp_path)
    for name in ("train_1.tsv", "train_2.tsv"):
        (tmp_path / name).write_text("a dog\thttp://host/a.jpg\n")
    files = [tmp_path / "train_1.tsv", tmp_path / "train_2.tsv"]
    with pytest.raises(UserError, match="both hold the split train of cc3m"):
        read_all(WebCaptionsSource(set="cc3m", annotations=files, images=tmp_path / "images"))
    with pytest.raises(UserError, match="both as files and as img2dataset's output"):
        read_all(WebCaptionsSource(set="cc3m", annotations=[files[0], tmp_path / "images"], images=None))
    with pytest.raises(UserError, match="without the folder of its pictures"):
        read_all(WebCaptionsSource(set="cc3m", annotations=files[:1]))
