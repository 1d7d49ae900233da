"""The loader's benchmark runs and compares like with like."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.loader import main
from benchmarks.samples import draw_photographs


@pytest.mark.slow
def test_it_leaves_its_shares_of_bare_decoding(tmp_path):
    main(["--quick", "--rounds", "1", "--out", str(tmp_path), "--size", "32", "--batch", "4"])
    result = json.loads((tmp_path / "loader-cpu.json").read_text())
    rows = {row["contestant"]: row for row in result["rows"]}
    assert list(rows) == ["decoding", "loader", "loader, colour jitter", "loader, RandAugment"]
    for row in rows.values():
        assert row["share_of_decoding"] == pytest.approx(rows["decoding"]["best_seconds"] / row["best_seconds"])
        assert row["pictures_per_second"] == pytest.approx(result["settings"]["pictures"] / row["best_seconds"])
    targets = {line["what"]: line["target"] for line in result["lines"] if line["target"] is not None}
    assert targets == {"loader: share of bare decoding": 0.8}
    assert str(Path.cwd()) not in json.dumps(result)
    assert (tmp_path / "loader-cpu.png").stat().st_size > 1000


def test_drawn_photographs_weigh_about_what_cocos_do(tmp_path):
    folder = draw_photographs(tmp_path / "coco", 2)
    files = sorted((folder / "images").rglob("*.jpg"))
    assert len(files) == 2
    for file in files:
        assert 60_000 < file.stat().st_size < 300_000  # COCO's are 160 kB on average
        with Image.open(file) as picture:
            assert picture.size == (640, 480)
    content = json.loads((folder / "annotations" / "captions_sample2014.json").read_text())
    assert {row["image_id"] for row in content["annotations"]} == {row["id"] for row in content["images"]}
