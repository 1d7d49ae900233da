"""Pictures become the same shards whatever the number of cores and however often the work was cut short."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from eve_core.data.prepare import picture_shards
from eve_core.data.prepare.picture_shards import in_order, store_pictures
from eve_core.data.shards import ShardWriter
from eve_core.data.sources.annotation import PictureFile

NUMBER, BAD, MISSING = 40, 7, 31


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(NUMBER):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "PNG")
        if number != MISSING:
            (folder / f"{number}.png").write_bytes(b"" if number == BAD else file.getvalue())
    return [PictureFile(f"s/{n}", f"{n}.png", (folder / f"{n}.png",), n) for n in range(NUMBER)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "max_bytes", 30_000)


def store(pictures, out, *, fail_at=None):
    (out / ".progress").mkdir(parents=True, exist_ok=True)

    def feed():
        for place, picture in enumerate(pictures):
            if place == fail_at:
                raise KeyboardInterrupt
            yield picture

    return store_pictures(
        feed(),
        len(pictures),
        out,
        "s",
        first=0,
        journal=out / ".progress" / "s.journal",
        short_side=None,
        progress=False,
        on_loss=lambda loss: None,
    )


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "images" / "s").iterdir()}


def test_what_is_lost_is_named_and_the_rest_is_stored(pictures, tmp_path):
    shards, losses = store(pictures, tmp_path / "out")
    assert len(shards) > 3
    assert sum(shard.rows for shard in shards) == NUMBER - 2
    assert {key: (loss.reason, loss.detail) for key, loss in losses.items()} == {
        "s/7": ("unreadable_picture", "7.png (the file is empty)"),
        "s/31": ("missing_picture", "31.png"),
    }


@pytest.mark.parametrize("cores", [1, 4])
def test_the_number_of_cores_changes_nothing(pictures, tmp_path, monkeypatch, cores):
    expected = store(pictures, tmp_path / "out")
    monkeypatch.setattr(picture_shards, "cores", lambda: cores)
    assert store(pictures, tmp_path / "other") == expected
    assert files(tmp_path / "other") == files(tmp_path / "out")


@pytest.mark.parametrize("fail_at", [*range(1, NUMBER, 3)])
def test_cut_short_and_taken_up_again_gives_the_same_bytes(pictures, tmp_path, monkeypatch, fail_at):
    expected = store(pictures, tmp_path / "out")
    monkeypatch.setattr(picture_shards, "cores", lambda: 1)
    monkeypatch.setattr(picture_shards, "_AHEAD", 16)
    with pytest.raises(KeyboardInterrupt):
        store(pictures, tmp_path / "cut", fail_at=fail_at)
    assert store(pictures, tmp_path / "cut") == expected
    assert files(tmp_path / "cut") == files(tmp_path / "out")


def test_finished_shards_are_not_read_again_but_for_what_they_lack(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_shards, "cores", lambda: 1)
    monkeypatch.setattr(picture_shards, "_AHEAD", 16)
    with pytest.raises(KeyboardInterrupt):
        store(pictures, tmp_path / "cut", fail_at=NUMBER - 1)
    journal = (tmp_path / "cut" / ".progress" / "s.journal").read_text().splitlines()
    done = json.loads(journal[-1])["pictures"]
    assert done > 5
    read = []
    real = picture_shards.read_picture
    monkeypatch.setattr(
        picture_shards, "read_picture", lambda place, side: (read.append(place.name), real(place, side))[1]
    )
    store(pictures, tmp_path / "cut")
    assert read == [f"{BAD}.png", *(f"{n}.png" for n in range(done, NUMBER) if n != MISSING)]


@pytest.mark.parametrize("damage", ["half a line", "shard gone", "shard short"])
def test_a_damaged_journal_or_shard_is_made_again(pictures, tmp_path, damage):
    expected = store(pictures, tmp_path / "out")
    journal = tmp_path / "out" / ".progress" / "s.journal"
    before = files(tmp_path / "out")
    lines = journal.read_text().splitlines()
    last = tmp_path / "out" / json.loads(lines[-1])["shard"]["path"]
    if damage == "half a line":
        journal.write_text("\n".join(lines)[:-20])
    elif damage == "shard gone":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:100])
    assert store(pictures, tmp_path / "out") == expected
    assert files(tmp_path / "out") == before


def test_a_name_that_no_file_can_have_is_a_picture_lost(pictures, tmp_path):
    impossible = PictureFile("s/x", "x", (tmp_path / ("x" * 300),), None)
    _, losses = store([*pictures, impossible], tmp_path / "out")
    assert losses["s/x"].detail == "x (File name too long)"


def test_results_come_in_the_order_of_the_items():
    from concurrent.futures import ThreadPoolExecutor
    from time import sleep

    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda n: (sleep(0.002 * (n % 3)), n)[1], range(100))
        assert list(results) == list(range(100))
