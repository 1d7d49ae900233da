"""What img2dataset writes, in its three forms, and archives of WebDataset without tables."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eve_core.config import WebCaptionsSource
from eve_core.data.locations import read_bytes
from eve_core.errors import UserError
from tests.data.sources.conftest import Found, annotations, read_all, reasons, rejected, rows

Sample = tuple[str, str | None, bytes | None]
"""A key, a caption, and a picture's bytes, None where the download failed."""

SAMPLES: list[Sample] = [
    ("000000000", "a dog", b"picture 0"),
    ("000000001", "a cat", None),
    ("000000002", "a caf\u00e9", b"picture 2"),
]


def table(samples: list[Sample], **more: list[Any]) -> pa.Table:
    return pa.table(
        {
            "url": [f"http://host/{key}" for key, _, _ in samples],
            "caption": pa.array([caption for _, caption, _ in samples], pa.string()),
            "key": [key for key, _, _ in samples],
            "status": ["failed_to_download" if data is None else "success" for _, _, data in samples],
            "error_message": ["HTTP Error 404" if data is None else None for _, _, data in samples],
            **more,
        }
    )


def tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def files_of(samples: list[Sample]) -> dict[str, bytes]:
    files = {}
    for key, caption, data in samples:
        if data is not None:
            files[f"{key}.jpg"] = data
            files[f"{key}.json"] = json.dumps({"key": key}).encode()
            files[f"{key}.txt"] = (caption or "").encode()
    return files


def webdataset(folder: Path, samples: list[Sample]) -> None:
    tar(folder / "00000.tar", files_of(samples))
    pq.write_table(table(samples), folder / "00000.parquet")


def files(folder: Path, samples: list[Sample]) -> None:
    (folder / "00000").mkdir(parents=True)
    for name, data in files_of(samples).items():
        (folder / "00000" / name).write_bytes(data)
    pq.write_table(table(samples), folder / "00000.parquet")


def parquet(folder: Path, samples: list[Sample]) -> None:
    folder.mkdir(parents=True)
    pictures = pa.array([data for _, _, data in samples], pa.binary())
    pq.write_table(table(samples, jpg=pictures), folder / "00000.parquet", row_group_size=2)


FORMS = [webdataset, files, parquet]


def read(*folders: Path, set_name: str = "cc3m") -> Found:
    return read_all(WebCaptionsSource.model_validate({"set": set_name, "annotations": folders}))


@pytest.mark.parametrize("write", FORMS)
def test_the_three_forms_say_the_same(tmp_path: Path, write: Callable[[Path, list[Sample]], None]) -> None:
    write(tmp_path / "cc3m", SAMPLES)
    (tmp_path / "cc3m/00000_stats.json").write_text("{}")
    found = read(tmp_path / "cc3m")
    assert rows(found) == [
        {"caption_id": "000000000", "image_id": "cc3m/000000000", "caption": "a dog", "split": "train"},
        {"caption_id": "000000002", "image_id": "cc3m/000000002", "caption": "a caf\u00e9", "split": "train"},
    ]
    pictures = [picture for annotation in annotations(found) for picture in annotation.pictures]
    assert [picture.name for picture in pictures] == ["000000000.jpg", "000000002.jpg"]
    assert [[read_bytes(place) for place in picture.candidates] for picture in pictures] == [
        [b"picture 0"],
        [b"picture 2"],
    ]
    [failed] = rejected(found)
    assert (failed.row_id, failed.reason, failed.split) == ("000000001", "download_failed", "train")
    assert "failed_to_download: HTTP Error 404" in failed.detail


def test_archives_without_tables_have_their_captions_beside_the_pictures(tmp_path: Path) -> None:
    tar(tmp_path / "cc3m-train-0000.tar", files_of(SAMPLES))
    tar(tmp_path / "cc3m-validation-0000.tar", files_of(SAMPLES[:1]))
    found = read(tmp_path)
    assert [(row["caption_id"], row["caption"], row["split"]) for row in rows(found)] == [
        ("000000000", "a dog", "train"),
        ("000000002", "a caf\u00e9", "train"),
        ("val-000000000", "a dog", "val"),
    ]
    assert reasons(found) == []


def test_the_folders_name_says_the_split_where_the_shards_does_not(tmp_path: Path) -> None:
    webdataset(tmp_path / "cc3m_val", SAMPLES[:1])
    assert [row["split"] for row in rows(read(tmp_path / "cc3m_val"))] == ["val"]
    assert [row["split"] for row in rows(read(tmp_path / "cc3m_val", set_name="sbu"))] == ["train"]


def test_members_that_point_outside_are_rejected(tmp_path: Path) -> None:
    outside = {"../1.jpg": b"x", "/etc/2.jpg": b"x", "a/../../3.txt": b"x", "bad\udce9.jpg": b"x"}
    tar(tmp_path / "00000.tar", {**outside, **files_of(SAMPLES[:1])})
    with tarfile.open(tmp_path / "00000.tar", "a") as archive:
        link = tarfile.TarInfo("000000009.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = read(tmp_path)
    assert [one.reason for one in rejected(found)] == [*["path_outside"] * 3, "not_utf8", "not_a_file"]
    assert [row["caption_id"] for row in rows(found)] == ["000000000"]


def test_pictures_without_captions_and_captions_without_pictures(tmp_path: Path) -> None:
    tar(tmp_path / "00000.tar", {"1.jpg": b"x", "2.txt": b"a dog", "3.jpg": b"x", "3.txt": b"caf\xe9"})
    found = read(tmp_path)
    assert reasons(found) == [("1", "no_caption"), ("3", "not_utf8")]
    [annotation] = annotations(found)
    assert (annotation.row["caption_id"], annotation.pictures[0].candidates) == ("2", ())


@pytest.mark.parametrize("write", FORMS)
def test_a_caption_of_a_table_that_is_not_utf8_is_rejected(
    tmp_path: Path, write: Callable[[Path, list[Sample]], None]
) -> None:
    write(tmp_path / "cc3m", SAMPLES)
    table_path = tmp_path / "cc3m/00000.parquet"
    whole = pq.read_table(table_path)
    bad = pa.array([b"caf\xe9", b"a cat", b"a cow"]).view(pa.string())
    pq.write_table(whole.set_column(whole.schema.get_field_index("caption"), "caption", bad), table_path)
    found = read(tmp_path / "cc3m")
    assert reasons(found) == [("000000000", "not_utf8"), ("000000001", "download_failed")]
    assert [row["caption"] for row in rows(found)] == ["a cow"]


def test_of_a_folder_only_files_with_proper_names_are_read(tmp_path: Path) -> None:
    files(tmp_path, SAMPLES)
    (tmp_path / "00000.parquet").unlink()
    (tmp_path / "00000/9.txt").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "00000") + b"/caf\xe9.jpg")).touch()
    found = read(tmp_path)
    assert reasons(found) == [(r"00000, 'caf\udce9.jpg'", "not_utf8")]
    assert [row["caption"] for row in rows(found)] == ["a dog", "a caf\u00e9"]


def test_a_table_and_its_archive_that_disagree(tmp_path: Path) -> None:
    tar(tmp_path / "00000.tar", files_of([("000000000", "a dog", b"x"), ("000000007", "a cow", b"x")]))
    pq.write_table(table(SAMPLES), tmp_path / "00000.parquet")
    found = read(tmp_path)
    assert reasons(found) == [("000000001", "download_failed"), ("000000007", "no_caption")]
    candidates = {one.row["caption_id"]: len(one.pictures[0].candidates) for one in annotations(found)}
    assert candidates == {"000000000": 1, "000000002": 0}


def test_a_key_counts_once(tmp_path: Path) -> None:
    webdataset(tmp_path / "a", SAMPLES[:1])
    webdataset(tmp_path / "b", SAMPLES[:1])
    found = read(tmp_path / "a", tmp_path / "b")
    assert len(rows(found)) == 1
    assert reasons(found) == [("000000000", "duplicate_id")]


def test_a_caption_that_is_missing_is_empty(tmp_path: Path) -> None:
    webdataset(tmp_path, [("000000000", None, b"x")])
    assert [row["caption"] for row in rows(read(tmp_path))] == [""]


def test_compressed_and_cut_archives_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "00000.tar", files_of(SAMPLES))
    whole = (tmp_path / "00000.tar").read_bytes()
    content = whole.rstrip(b"\0")
    for size, message in [
        (100, "no whole"),
        (len(content) // 2, "cut or damaged|no whole"),
        (7 * 512 + 9, "cut|whole"),
    ]:
        (tmp_path / "00000.tar").write_bytes(whole[:size])
        with pytest.raises(UserError, match=message):
            read(tmp_path)
    (tmp_path / "00000.tar").unlink()
    with tarfile.open(tmp_path / "00000.tar", "w:gz"):
        pass
    with pytest.raises(UserError, match="no whole uncompressed tar archive"):
        read(tmp_path)
    (tmp_path / "00000.tar").rename(tmp_path / "00000.tar.gz")
    with pytest.raises(UserError, match="is compressed"):
        read(tmp_path)


def test_a_damaged_header_in_the_middle_is_noticed(tmp_path: Path) -> None:
    tar(tmp_path / "00000.tar", files_of(SAMPLES))
    data = bytearray((tmp_path / "00000.tar").read_bytes())
    data[2 * 512 + 148 : 2 * 512 + 156] = b"garbage!"  # the second header's checksum
    (tmp_path / "00000.tar").write_bytes(data)
    with pytest.raises(UserError, match="cut or damaged at byte 1,024"):
        read(tmp_path)


def test_tables_that_do_not_serve_are_refused(tmp_path: Path) -> None:
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no whole Parquet file"):
        read(tmp_path)
    pq.write_table(table(SAMPLES).drop_columns(["caption"]), tmp_path / "00000.parquet")
    with pytest.raises(UserError, match="has no column txt; run img2dataset with --caption_col"):
        read(tmp_path)
    (tmp_path / "00000.parquet").unlink()
    with pytest.raises(UserError, match="holds no shards of img2dataset"):
        read(tmp_path)
