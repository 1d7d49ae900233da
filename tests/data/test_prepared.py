"""Reading prepared data: tables, pictures, and what is said of damaged folders."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eve_core.data.manifest import Manifest
from eve_core.data.prepared import ImageStore, PreparedData
from eve_core.data.records import SCHEMAS
from eve_core.errors import UserError


@pytest.fixture
def copy(prepared: PreparedData, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared.path, tmp_path / "copy"))


def test_tables_have_their_schemas_and_counts(prepared: PreparedData) -> None:
    for kind in ("captions", "questions", "statements"):
        assert prepared.table(kind).schema.equals(SCHEMAS[kind])
    assert prepared.table("captions", set="coco_captions", splits=["train", "val"]).num_rows == 96
    assert prepared.table("captions", set="flickr8k", splits=["test"]).num_rows == 16
    assert prepared.table("captions").num_rows == 96 + 48
    assert prepared.image_info().num_rows == 48 + 80 + 24 == len(prepared.images)
    assert "bytes" not in prepared.image_info().column_names


def test_every_picture_that_is_referred_to_is_there(prepared: PreparedData) -> None:
    for kind, columns in [("captions", ["image_id"]), ("statements", ["left_image_id", "right_image_id"])]:
        table = prepared.table(kind)
        assert all(image_id in prepared.images for column in columns for image_id in table[column].to_pylist())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"kind": "pictures"}, "no table 'pictures'; the tables are images, captions"),
        ({"kind": "captions", "set": "flickr30k"}, "holds coco_captions, flickr8k"),
        ({"kind": "captions", "set": "vqa_v2"}, "vqa_v2 has questions"),
        ({"kind": "statements", "set": "nlvr2", "splits": ["test1"]}, "split 'test1'.* holds dev, train"),
    ],
)
def test_what_is_not_there_is_named(prepared: PreparedData, wanted: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepared.table(**wanted)  # type: ignore[arg-type]


def test_pictures_are_those_of_the_parquet_file(prepared: PreparedData) -> None:
    """The slices of the mapped file agree with what Parquet's own reader returns."""
    for shard in prepared.manifest.shards:
        if shard.table == "images":
            for row in pq.read_table(prepared.path / shard.path).to_pylist():
                assert prepared.images[row["image_id"]] == row["bytes"]


def test_the_image_store_pickles_small_and_works_afterwards(prepared: PreparedData) -> None:
    image_id = next(iter(prepared.images))
    pickled = pickle.dumps(prepared.images)
    assert len(pickled) < 1000
    copy: ImageStore = pickle.loads(pickled)
    assert copy[image_id] == prepared.images[image_id]
    assert image_id in copy
    assert "coco/0" not in copy


def test_an_unknown_picture_is_a_users_error(prepared: PreparedData) -> None:
    with pytest.raises(UserError, match=r"no picture 'coco/0'"):
        prepared.images["coco/0"]


def _rewrite(change: Callable[[dict], object]) -> Callable[[Path], object]:  # type: ignore[type-arg]
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "holds no prepared data"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is damaged"),
        (_rewrite(lambda tree: tree.update(format=1)), "has format 1"),
        (_rewrite(lambda tree: tree.pop("shards")), "is damaged"),
        (_rewrite(lambda tree: tree["shards"].pop()), "changed after it was written"),
        (lambda folder: (folder / "nlvr2/dev-00000.parquet").unlink(), r"dev-00000.parquet .* is missing"),
        (lambda folder: (folder / "nlvr2/dev-00000.parquet").write_bytes(b"PAR1"), r"is not the file .*4 bytes"),
    ],
)
def test_a_damaged_folder_is_refused(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message):
        PreparedData.open(copy)


def test_verifying_finds_a_changed_byte(copy: Path) -> None:
    path = copy / "images/coco/00000.parquet"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(bytes(data))
    PreparedData.open(copy)
    with pytest.raises(UserError, match=r"images/coco/00000.parquet"):
        PreparedData.open(copy, verify=True)


def test_the_digest_depends_on_the_contents_alone(prepared: PreparedData, copy: Path) -> None:
    assert Manifest.read(copy).digest == prepared.digest
    assert "/" not in prepared.digest
    text = (copy / "manifest.json").read_text()
    assert str(copy.parent) not in text


def test_rows_that_validation_set_apart_are_not_seen(prepared: PreparedData, tmp_path: Path) -> None:
    captions = prepared.table("captions", set="flickr8k")
    questions = prepared.table("questions")
    apart = [("flickr8k", captions["caption_id"][3].as_py()), ("vqa_v2", str(questions["question_id"][0].as_py()))]
    rows = [{"set": name, "row_id": row, "split": None, "reason": "x", "detail": "x"} for name, row in apart]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "quarantine.parquet")
    data = PreparedData.open(prepared.path, quarantine=tmp_path)
    assert data.table("captions", set="flickr8k").equals(pa.concat_tables([captions[:3], captions[4:]]))
    assert data.table("questions").equals(questions[1:])
    assert data.table("captions", set="coco_captions").equals(prepared.table("captions", set="coco_captions"))
    assert data.quarantine_digest != prepared.quarantine_digest == ""
