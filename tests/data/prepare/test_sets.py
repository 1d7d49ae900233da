"""Preparing: what is stored, what is left out, and that a failure leaves nothing half-done."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from eve_core.config import CocoCaptionsSource, FlickrSource, Nlvr2Source, SourceConfig, SyntheticWorldConfig
from eve_core.data.leakage import WAYS, Way
from eve_core.data.prepare import prepare_all, prepare_set, sets
from eve_core.data.prepared import PreparedData
from eve_core.data.shards import ShardWriter
from eve_core.data.sources.layout import find_source
from eve_core.errors import UserError
from tests.conftest import world_config


@pytest.fixture(autouse=True)
def any_number_is_whole(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tiny sets count as whole ones."""
    if "published_counts" not in request.fixturenames:
        monkeypatch.setattr(sets, "unexpected_counts", lambda name, counts: [])


@pytest.fixture
def published_counts() -> None:
    """The published numbers count."""


def jpeg(color: str = "red", size: tuple[int, int] = (20, 10), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def flickr(
    folder: Path, pictures: dict[str, bytes | None], captions: dict[str, list[str]] | None = None
) -> FlickrSource:
    """A Karpathy file with one picture an entry; None stands for a file that is not there."""
    (folder / "images").mkdir(parents=True)
    images = []
    for number, (name, data) in enumerate(pictures.items()):
        if data is not None:
            (folder / "images" / name).write_bytes(data)
        texts = (captions or {}).get(name, ["a dog", "a brown dog"])
        sentences = [{"raw": text, "sentid": 10 * number + place} for place, text in enumerate(texts)]
        images.append({"filename": name, "split": "train", "sentences": sentences})
    path = folder / "dataset_flickr8k.json"
    path.write_text(json.dumps({"images": images, "dataset": "flickr8k"}))
    return FlickrSource(set="flickr8k", annotations=path, images=folder / "images")


def quiet(
    source: SourceConfig, out: Path, allow_partial: bool = True, leak_ways: Sequence[Way] = ("id", "bytes")
) -> PreparedData:
    prepare_set(source, out, allow_partial=allow_partial, leak_ways=leak_ways, progress=False)
    return PreparedData.open(out, verify=True)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_preparing_twice_gives_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    prepare_all(world_config(), tmp_path / "again", tmp_path / "elsewhere", progress=False)
    assert everything(tmp_path / "again") == everything(workspace / "prepared")


def test_the_pictures_of_coco_are_stored_once_for_both_sets(prepared: PreparedData) -> None:
    captioned = prepared.table("captions", set="coco_captions")["image_id"].unique().to_pylist()
    asked_about = prepared.table("questions")["image_id"].unique().to_pylist()
    stored = [shard for shard in prepared.manifest.shards if shard.path.startswith("images/coco")]
    assert sorted(captioned) == sorted(asked_about)
    assert sum(shard.rows for shard in stored) == len(captioned) == 48


def test_a_set_added_later_brings_only_its_new_pictures(world: Path, tmp_path: Path) -> None:
    captions = find_source("coco_captions", world / "coco")
    first = quiet(captions, tmp_path / "out")
    shards = {path: data for path, data in everything(tmp_path / "out").items() if path.startswith("images/")}
    # The questions' pictures are stored by now, so none has to be found.
    (tmp_path / "empty").mkdir()
    both = quiet(find_source("vqa_v2", world / "vqa2", tmp_path / "empty"), tmp_path / "out", allow_partial=False)
    now = {path: data for path, data in everything(tmp_path / "out").items() if path.startswith("images/")}
    assert now == shards
    assert both.manifest.sets["coco_captions"] == first.manifest.sets["coco_captions"]
    assert both.manifest.sets["vqa_v2"].counts == {"train": 132, "val": 12}


def test_preparing_a_set_again_changes_nothing(world: Path, tmp_path: Path) -> None:
    source = find_source("flickr8k", world / "flickr8k")
    first = quiet(source, tmp_path / "out").digest
    assert quiet(source, tmp_path / "out").digest == first


def test_stored_pictures_are_the_original_files(world: Path, prepared: PreparedData) -> None:
    for path in sorted((world / "nlvr2/images").iterdir()):
        assert prepared.images[f"nlvr2/{path.stem}"] == path.read_bytes()


def test_missing_pictures_are_counted_or_refused(tmp_path: Path) -> None:
    source = flickr(tmp_path, {"here.jpg": jpeg(), "gone.jpg": None})
    data = quiet(source, tmp_path / "out")
    summary = data.manifest.sets["flickr8k"]
    assert summary.counts == {"train": 2}
    assert summary.quarantined == {"missing_picture": 2}
    assert summary.quarantined_examples == {"missing_picture": ["gone.jpg"]}
    assert data.table("quarantine").to_pylist() == [
        {"row_id": str(number), "split": "train", "reason": "missing_picture", "detail": "gone.jpg"}
        for number in (10, 11)
    ]
    assert data.table("captions")["caption_id"].to_pylist() == ["0", "1"]
    with pytest.raises(UserError, match=r"missing picture: gone.jpg; .*--allow-partial"):
        quiet(source, tmp_path / "strict", allow_partial=False)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (jpeg(size=(300, 300), quality=95)[:-400], "truncated"),
        (b"no picture at all", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_unreadable_pictures_are_counted_or_refused(tmp_path: Path, broken: bytes, reason: str) -> None:
    source = flickr(tmp_path, {"bad.jpg": broken, "good.jpg": jpeg()})
    data = quiet(source, tmp_path / "out")
    assert data.manifest.sets["flickr8k"].quarantined == {"unreadable_picture": 2}
    assert list(data.images) == ["flickr8k/good"]
    with pytest.raises(UserError, match=rf"unreadable picture: bad.jpg \(.*{reason}"):
        quiet(source, tmp_path / "strict", allow_partial=False)


def test_a_decompression_bomb_is_unreadable(tmp_path: Path) -> None:
    bomb = bytearray(jpeg())
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"  # 65,535 x 65,535 pixels
    source = flickr(tmp_path, {"bomb.jpg": bytes(bomb), "good.jpg": jpeg()})
    assert quiet(source, tmp_path / "out").manifest.sets["flickr8k"].quarantined == {"unreadable_picture": 2}


def test_a_pair_with_one_bad_picture_is_no_row(tmp_path: Path) -> None:
    for name, data in {
        "dev-1-0-img0": jpeg(),
        "dev-1-0-img1": b"",
        "dev-2-0-img0": jpeg(),
        "dev-2-0-img1": jpeg(),
    }.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    lines = [{"identifier": f"dev-{n}-0-0", "sentence": "two dogs", "label": "True"} for n in (1, 2)]
    (tmp_path / "dev.json").write_text("\n".join(json.dumps(line) for line in lines))
    data = quiet(Nlvr2Source(statements=[tmp_path / "dev.json"], images=tmp_path), tmp_path / "out")
    assert data.table("statements")["statement_id"].to_pylist() == ["dev-2-0-0"]
    assert "nlvr2/dev-1-0-img1" not in data.images


def test_captions_without_words_are_counted_or_refused(tmp_path: Path) -> None:
    source = flickr(tmp_path, {"a.jpg": jpeg()}, {"a.jpg": ["a dog", "", " \n"]})
    summary = quiet(source, tmp_path / "out").manifest.sets["flickr8k"]
    assert summary.quarantined == {"empty_caption": 2}
    assert summary.quarantined_examples == {"empty_caption": ["caption 1 has no words", "caption 2 has no words"]}
    with pytest.raises(UserError, match="2 empty caption: caption 1 has no words"):
        quiet(source, tmp_path / "strict", allow_partial=False)


def test_no_row_left_says_why(tmp_path: Path) -> None:
    source = flickr(tmp_path, {"gone.jpg": None, "bad.jpg": b""})
    with pytest.raises(UserError, match=r"no annotation left: 2 missing_picture \(such as gone.jpg\), 2 unreadable"):
        quiet(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_annotations_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset_flickr8k.json: images is empty"):
        quiet(flickr(tmp_path, {}), tmp_path / "out")


def test_a_picture_without_annotations_is_told_and_no_error(tmp_path: Path) -> None:
    source = flickr(tmp_path, {"a.jpg": jpeg(), "b.jpg": jpeg("blue")}, {"b.jpg": []})
    data = quiet(source, tmp_path / "out", allow_partial=False)
    assert data.manifest.sets["flickr8k"].quarantined == {"unused_picture": 1}
    assert list(data.images) == ["flickr8k/a"]


def test_a_failing_set_leaves_the_folder_as_it_was(world: Path, tmp_path: Path) -> None:
    quiet(find_source("flickr8k", world / "flickr8k"), tmp_path / "out")
    before = everything(tmp_path / "out")
    # The first pictures are fine and get written; the last one stops it.
    pictures: dict[str, bytes | None] = {f"{n}.jpg": jpeg() for n in range(300)}
    with pytest.raises(UserError):
        quiet(flickr(tmp_path / "bad", {**pictures, "last.jpg": b""}), tmp_path / "out", allow_partial=False)
    assert everything(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "out"]


def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    noise = random.Random(0)
    pictures = {}
    for number in range(120):
        file = io.BytesIO()
        Image.frombytes("RGB", (200, 200), noise.randbytes(120_000)).save(file, "PNG")
        pictures[f"{number}.png"] = None if number == 5 else b"" if number == 9 else file.getvalue()
    source = flickr(tmp_path, pictures)
    code = (
        "import sys; from pathlib import Path; from eve_core.config import FlickrSource;"
        "from eve_core.data.prepare import prepare_set; from eve_core.data.shards import ShardWriter;"
        "ShardWriter.__init__.__kwdefaults__['max_bytes'] = 1_000_000;"
        f"prepare_set(FlickrSource(set='flickr8k', annotations=Path({str(source.annotations)!r}), "
        f"images=Path({str(source.images)!r})), Path(sys.argv[1]), allow_partial=True, progress=False)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "whole")], check=True)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")])
    journal = tmp_path / ".out.preparing" / ".progress" / "flickr8k.journal"
    while not (journal.exists() and journal.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = next((tmp_path / ".out.preparing" / "images").rglob("00000.parquet")).stat()
    with pytest.raises(UserError, match="holds no prepared data"):
        PreparedData.open(tmp_path / "out")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    assert next((tmp_path / "out" / "images").rglob("00000.parquet")).stat().st_mtime_ns == first.st_mtime_ns
    assert not (tmp_path / ".out.preparing").exists()


def test_unfinished_work_from_other_files_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "max_bytes", 2_000)  # type: ignore[misc]
    pictures: dict[str, bytes | None] = {f"{n}.jpg": jpeg() for n in range(20)}
    source = flickr(tmp_path, {**pictures, "bad.jpg": b""})
    with pytest.raises(UserError, match=r"bad.jpg"):
        quiet(source, tmp_path / "out", allow_partial=False)
    assert (tmp_path / ".out.preparing" / ".progress" / "flickr8k.journal").stat().st_size
    content = source.annotations.read_text()
    source.annotations.write_text(content.replace("a dog", "a cat"))
    data = quiet(source, tmp_path / "out")
    assert set(data.table("captions")["caption"].to_pylist()) == {"a cat", "a brown dog"}


def test_a_kill_between_the_two_renames_costs_no_other_set(tmp_path: Path) -> None:
    quiet(flickr(tmp_path / "a", {"a.jpg": jpeg()}), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    other = flickr(tmp_path / "b", {"b.jpg": jpeg("blue")})
    data = quiet(FlickrSource(set="flickr30k", annotations=other.annotations, images=other.images), tmp_path / "out")
    assert set(data.manifest.sets) == {"flickr8k", "flickr30k"}


def cut_short(source: FlickrSource, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shards of pictures are finished, then the process ends."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sets, "store_rows", end)
        with pytest.raises(KeyboardInterrupt):
            quiet(source, out)
    assert next(out.parent.glob(".out.preparing/.progress/*.journal")).stat().st_size


def test_unfinished_pictures_of_another_size_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "max_bytes", 2_000)  # type: ignore[misc]
    source = flickr(tmp_path, {f"{n}.jpg": jpeg(size=(40, 20)) for n in range(20)})
    cut_short(source, tmp_path / "out", monkeypatch)
    prepare_set(source, tmp_path / "out", allow_partial=True, short_side=10, progress=False)
    assert {*PreparedData.open(tmp_path / "out").image_info()["height"].to_pylist()} == {10}


def test_what_was_lost_before_a_kill_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "max_bytes", 2_000)  # type: ignore[misc]
    source = flickr(tmp_path, {f"{n}.jpg": None if n in (3, 9) else jpeg() for n in range(20)})
    cut_short(source, tmp_path / "out", monkeypatch)
    (source.images / "9.jpg").write_bytes(jpeg("blue"))
    with pytest.raises(UserError, match=r"1 missing picture: 3.jpg"):
        quiet(source, tmp_path / "out", allow_partial=False)
    (source.images / "3.jpg").write_bytes(jpeg("green"))
    resumed = quiet(source, tmp_path / "out", allow_partial=False)
    assert list(resumed.images) == [f"flickr8k/{n}" for n in range(20)]
    assert resumed.digest == quiet(source, tmp_path / "new").digest


@pytest.mark.usefixtures("published_counts")
def test_a_part_of_a_set_has_to_be_allowed(tmp_path: Path) -> None:
    source = flickr(tmp_path, {"a.jpg": jpeg()})
    with pytest.raises(UserError, match=r"flickr8k is not whole: .*2 of 30,000.*--allow-partial"):
        quiet(source, tmp_path / "out", allow_partial=False)
    assert any("2 of 30,000" in note for note in quiet(source, tmp_path / "out").manifest.sets["flickr8k"].notes)


def test_training_rows_that_show_a_test_picture_are_set_apart_and_come_back_with_it(tmp_path: Path) -> None:
    noise = random.Random(1)

    def photograph() -> bytes:
        file = io.BytesIO()
        Image.frombytes("RGB", (9, 9), noise.randbytes(243)).resize((300, 300), 3).save(file, "JPEG", quality=90)
        return file.getvalue()

    shared, own, tested = photograph(), photograph(), photograph()
    smaller = io.BytesIO()
    Image.open(io.BytesIO(shared)).resize((150, 150)).save(smaller, "JPEG", quality=60)
    train = flickr(tmp_path / "train", {"own.jpg": own, "shared.jpg": smaller.getvalue()})
    test = flickr(tmp_path / "test", {"copy.jpg": shared, "tested.jpg": tested})
    content = test.annotations.read_text().replace('"train"', '"test"')
    test.annotations.write_text(content)
    test = FlickrSource(set="flickr30k", annotations=test.annotations, images=test.images)

    before = quiet(train, tmp_path / "out", leak_ways=WAYS)
    both = quiet(test, tmp_path / "out", leak_ways=WAYS)
    assert len(before.table("captions")) == 4
    assert both.table("captions", set="flickr8k")["image_id"].to_pylist() == ["flickr8k/own"] * 2
    summary = both.manifest.sets["flickr8k"]
    assert summary.counts == {"train": 2}
    assert summary.quarantined == {"leaks_into_flickr30k_test": 2}
    assert all("flickr30k/copy" in row["detail"] for row in both.table("quarantine").to_pylist())
    # Preparing again, or another set, changes nothing.
    assert quiet(train, tmp_path / "out", leak_ways=WAYS).digest == both.digest
    # In the other order it is the same, and without the test set the rows are back.
    quiet(test, tmp_path / "other", leak_ways=WAYS)
    assert quiet(train, tmp_path / "other", leak_ways=WAYS).digest == both.digest
    (tmp_path / "test2").mkdir()
    nobody = flickr(tmp_path / "nobody", {"another.jpg": photograph()})
    alone = quiet(FlickrSource(set="flickr30k", annotations=nobody.annotations, images=nobody.images), tmp_path / "out")
    assert len(alone.table("captions", set="flickr8k")) == 4


def test_a_file_that_cannot_grow_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    source = flickr(tmp_path, {f"{n}.jpg": jpeg(size=(400, 400)) for n in range(60)})
    code = (
        "import resource, sys; from pathlib import Path; from eve_core.config import FlickrSource;"
        "from eve_core.data.prepare import prepare_set; from eve_core.errors import UserError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        f" prepare_set(FlickrSource(set='flickr8k', annotations=Path({str(source.annotations)!r}), "
        f"images=Path({str(source.images)!r})), Path({str(tmp_path / 'out')!r}), allow_partial=True, progress=False)\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("preparing flickr8k into")
    assert "File too large" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset_flickr8k.json", "images"]


def test_a_foreign_folder_is_never_replaced(world: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    source = find_source("flickr8k", world / "flickr8k")
    with pytest.raises(UserError, match=r"also holds thesis.txt"):
        quiet(source, tmp_path / "out")
    with pytest.raises(UserError, match=r"also holds thesis.txt"):
        prepare_all(world_config(), tmp_path / "out", tmp_path, progress=False)
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


def test_the_sources_of_a_configuration_are_checked(tmp_path: Path) -> None:
    config = world_config()
    for sources, message in [([], "data.sources is empty"), ([config.sources[0]] * 2, "coco_captions twice")]:
        with pytest.raises(UserError, match=message):
            prepare_all(config.model_copy(update={"sources": sources}), tmp_path / "out", tmp_path)
    with pytest.raises(UserError, match=r"data.synthetic is not set"):
        prepare_all(config.model_copy(update={"synthetic": None}), tmp_path / "out", tmp_path)


@pytest.mark.real_data
def test_real_samples_have_the_known_counts(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quiet(find_source("coco_captions", real_data / "coco"), out, allow_partial=False)
    quiet(find_source("vqa_v2", real_data / "vqa2", real_data / "coco/images"), out, allow_partial=False)
    quiet(find_source("flickr8k", real_data / "flickr8k"), out, allow_partial=False)
    data = quiet(find_source("nlvr2", real_data / "nlvr2"), out)
    sets = data.manifest.sets
    assert sum(sets["coco_captions"].counts.values()) == 1711
    assert len(data.table("captions", set="coco_captions")["image_id"].unique()) == 342
    assert sets["vqa_v2"].counts == {"train": 170, "val": 13}
    assert sets["flickr8k"].counts == {"train": 753 * 5, "val": 113 * 5}
    assert sets["nlvr2"].counts == {"dev": 8}
    assert sets["nlvr2"].quarantined == {"missing_picture": 6974}
    modes = data.image_info()["mode"].to_pylist()
    assert modes.count("L") == 3
    for image_id, width in zip(*(data.image_info()[name].to_pylist() for name in ("image_id", "width")), strict=True):
        assert Image.open(io.BytesIO(data.images[image_id])).width == width


@pytest.mark.real_data
def test_karpathy_and_the_official_form_say_the_same(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "coco"
    tables = {}
    for name in ("annotations/captions_sample2014.json", "dataset_coco.json"):
        source = CocoCaptionsSource(annotations=[folder / name], images=folder / "images")
        table = quiet(source, tmp_path / Path(name).stem).table("captions")
        tables[name] = sorted(
            zip(table["image_id"].to_pylist(), map(str.strip, table["caption"].to_pylist()), strict=True)
        )
    official, karpathy = tables.values()
    assert official == karpathy


def test_a_synthetic_set_is_drawn_again_only_when_something_changed(tmp_path: Path) -> None:
    sizes = SyntheticWorldConfig(coco_images=12, nlvr2_pairs=10, flickr_images=6, flickr_test_images=2)
    config = world_config(sizes)
    manifest = prepare_all(config, tmp_path / "prepared", tmp_path, progress=False)
    stamp = (tmp_path / "prepared" / "manifest.json").stat().st_mtime_ns
    assert prepare_all(config, tmp_path / "prepared", tmp_path, progress=False) == manifest
    assert (tmp_path / "prepared" / "manifest.json").stat().st_mtime_ns == stamp
    next((tmp_path / "prepared" / "images").rglob("*.parquet")).write_bytes(b"damaged")
    assert prepare_all(config, tmp_path / "prepared", tmp_path, progress=False) == manifest
    PreparedData.open(tmp_path / "prepared", verify=True)
    other = world_config(sizes.model_copy(update={"seed": 9}))
    assert prepare_all(other, tmp_path / "prepared", tmp_path, progress=False).digest != manifest.digest
