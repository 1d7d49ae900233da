"""What two revisions differ in."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from eve_core.config import DataConfig
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.records import LEAK
from eve_core.data.shards import ShardWriter
from eve_core.data.versioning import publish
from eve_core.data.versioning.diff import DataDifference, compare_revisions, difference_table
from eve_core.errors import UserError
from tests.data.versioning.conftest import objects, write_prepared


def shown(difference: DataDifference) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(difference_table(difference))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def edited(config: DataConfig, tmp_path: Path) -> list[str]:
    """Two revisions of one split: a row went, one came, one was edited, one stayed; and a record more is left out."""
    before = {"1": "stays", "2": "is edited", "3": "goes"}
    after = {"1": "stays", "2": "was edited", "4": "comes", "5": "comes too"}
    return [
        publish(config, write_prepared(tmp_path / "before", before, {"empty_caption": 1, "missing_picture": 2})),
        publish(config, write_prepared(tmp_path / "after", after, {"empty_caption": 1, "missing_picture": 3})),
    ]


def test_rows_by_set_and_split_and_what_was_left_out(config: DataConfig, edited: list[str]) -> None:
    found = compare_revisions(config, *edited).as_json()
    assert json.loads(json.dumps(found)) == found
    assert [found[side]["commit"] for side in ("before", "after")] == edited
    assert not found["same"]
    assert found["tables"] == [
        {
            "table": "captions",
            "set": "flickr8k",
            "split": "train",
            "before": 3,
            "after": 4,
            "rows": {"added": ["4", "5"], "removed": ["3"], "changed": ["2"]},
        }
    ]
    assert found["left_out"] == [{"set": "flickr8k", "reason": "missing_picture", "before": 2, "after": 3}]


def test_for_people(config: DataConfig, edited: list[str]) -> None:
    text = shown(compare_revisions(config, *edited))
    assert "3 -> 4" in text
    assert "missing picture" in text
    assert f"same data: digest {compare_revisions(config, edited[0], edited[0]).before.digest}" in shown(
        compare_revisions(config, edited[0], edited[0])
    )


def test_backwards_what_was_added_is_removed(config: DataConfig, edited: list[str]) -> None:
    (forth,), (back,) = (compare_revisions(config, *pair).tables for pair in (edited, edited[::-1]))
    assert forth.rows is not None
    assert back.rows is not None
    assert (forth.rows.added, forth.rows.removed) == (back.rows.removed, back.rows.added)


def test_shards_out_of_reach_leave_the_counts(config: DataConfig, edited: list[str], repository: Path) -> None:
    shutil.rmtree(repository / ".dvc" / "cache")
    for shard in objects(repository / ".dvc-remote", b"PAR1"):
        shard.unlink()
    difference = compare_revisions(config, *edited)
    assert [(table.before, table.after, table.rows) for table in difference.tables] == [(3, 4, None)]
    assert "not in reach" in shown(difference)
    shutil.rmtree(repository / ".dvc-remote")
    with pytest.raises(UserError, match="nor on its remote"):
        compare_revisions(config, *edited)


def test_shards_on_the_remote_alone_are_in_reach(config: DataConfig, edited: list[str], repository: Path) -> None:
    expected = compare_revisions(config, *edited)
    shutil.rmtree(repository / ".dvc" / "cache")
    assert compare_revisions(config, *edited) == expected


def test_pictures_and_rows_of_another_sharding(config: DataConfig, tmp_path: Path) -> None:
    def prepared(name: str, pictures: dict[str, str], max_bytes: int) -> Path:
        folder = tmp_path / name
        with (
            ShardWriter(folder, "images", "flickr8k", max_bytes=max_bytes) as images,
            ShardWriter(folder, "captions", "flickr8k", "train", max_bytes=max_bytes) as captions,
        ):
            for number, content in pictures.items():
                image = f"flickr8k/{number}"
                captions.write({"caption_id": number, "image_id": image, "caption": "a dog", "split": "train"})
                fields = {"file_name": number, "width": 1, "height": 1, "format": "PNG", "mode": "RGB"}
                images.write(
                    {"image_id": image, **fields, "sha256": content, "phash": bytes(32), "bytes": content.encode()}
                )
        shards = (*images.shards, *captions.shards)
        Manifest(shards, {"flickr8k": SetSummary(counts={"train": len(pictures)})}).write(folder)
        return folder

    one = publish(config, prepared("one", {"1": "aa", "2": "bb", "3": "cc"}, 1))
    other = publish(config, prepared("other", {"1": "aa", "2": "bb", "3": "cc"}, 2**20))
    new = publish(config, prepared("new", {"1": "aa", "2": "xx", "3": "cc", "4": "dd"}, 2**20))
    resharded = compare_revisions(config, one, other)
    assert (resharded.same, resharded.tables) == (False, [])
    assert "the same rows, stored in other shards" in shown(resharded)
    pictures, captions = compare_revisions(config, one, new).tables
    assert (pictures.set, pictures.split, pictures.before, pictures.after) == ("flickr8k", None, 3, 4)
    assert pictures.rows is not None
    assert vars(pictures.rows) == {"added": ["flickr8k/4"], "removed": [], "changed": ["flickr8k/2"]}
    assert captions.rows is not None
    assert captions.rows.added == ["4"]


def test_a_row_that_leaks_is_a_row_that_nobody_sees(config: DataConfig, tmp_path: Path) -> None:
    def prepared(name: str, leaking: list[str]) -> Path:
        folder = write_prepared(tmp_path / name, {"1": "a dog", "2": "a cat"})
        manifest = Manifest.read(folder)
        with ShardWriter(folder, "quarantine", "flickr8k", "all") as quarantine:
            for number in leaking:
                reason = f"{LEAK}coco_captions_val"
                quarantine.write({"row_id": number, "split": "train", "reason": reason, "detail": "the same picture"})
        numbers = SetSummary(counts={"train": 2 - len(leaking)}, quarantined={f"{LEAK}coco_captions_val": len(leaking)})
        Manifest((*manifest.shards, *quarantine.shards), {"flickr8k": numbers}).write(folder)
        return folder

    before, after = (publish(config, prepared(name, leaking)) for name, leaking in (("a", []), ("b", ["2"])))
    (table,) = compare_revisions(config, before, after).tables
    assert (table.before, table.after) == (2, 1)
    assert table.rows is not None
    assert vars(table.rows) == {"added": [], "removed": ["2"], "changed": []}
