"""Shards: their size, their bytes, and that a failure leaves no file."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eve_core.data.prepared import ImageStore
from eve_core.data.shards import ShardWriter


def picture(number: int, size: int) -> dict[str, Any]:
    data = bytes([number % 256]) * size
    columns = {"file_name": "x.jpg", "width": 1, "height": 1, "format": "JPEG", "mode": "RGB", "sha256": "0"}
    columns |= {"phash": bytes(32), "coco_id": number}
    return {"image_id": f"coco/{number}", "bytes": data, **columns}


def test_shards_stay_below_their_limit_and_keep_the_order(tmp_path: Path) -> None:
    sizes = [1000 + 37 * number for number in range(700)]
    with ShardWriter(tmp_path, "images", "coco", max_bytes=2**20) as writer:
        for number, size in enumerate(sizes):
            writer.write(picture(number, size))
    assert len(writer.shards) > 5
    assert all(shard.bytes < 1.1 * 2**20 for shard in writer.shards)
    assert sum(shard.rows for shard in writer.shards) == 700
    store = ImageStore(tmp_path, [shard.path for shard in writer.shards])
    assert list(store) == [f"coco/{number}" for number in range(700)]
    assert all(store[f"coco/{number}"] == bytes([number % 256]) * size for number, size in enumerate(sizes))


def test_a_picture_beyond_the_limit_gets_a_shard_of_its_own(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "images", "coco", max_bytes=1000) as writer:
        for number, size in enumerate([10, 5000, 10]):
            writer.write(picture(number, size))
    assert [shard.rows for shard in writer.shards] == [1, 1, 1]


def test_row_groups_have_a_fixed_size(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "images", "coco") as writer:
        for number in range(600):
            writer.write(picture(number, 10))
    metadata = pq.read_metadata(tmp_path / writer.shards[0].path)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [256, 256, 88]


def test_numbering_goes_on_after_existing_shards(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "images", "coco", first=3) as writer:
        writer.write(picture(0, 10))
    assert [shard.path for shard in writer.shards] == ["images/coco/00003.parquet"]


def test_no_rows_make_no_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "images", "coco") as writer:
        pass
    assert writer.shards == []
    assert list(tmp_path.iterdir()) == []


def test_an_error_removes_the_unfinished_file(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with ShardWriter(tmp_path, "images", "coco") as writer:
            for number in range(300):
                writer.write(picture(number, 10))
            assert any(name.endswith(".tmp") for name in os.listdir(tmp_path / "images/coco"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list((tmp_path / "images/coco").iterdir()) == []
