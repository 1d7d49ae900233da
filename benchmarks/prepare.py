"""Preparing a set against reading and decoding each of its pictures once, on one core and on all of them."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks.measure import take_turns
from benchmarks.results import Line, chosen_device, parser, publish
from benchmarks.samples import COCO_SAMPLE, draw_photographs
from eve_core.config import FlickrSource
from eve_core.data.prepare import prepare_set
from eve_core.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE_TARGET, SCALING_TARGET = 0.70, 1.8
_COPIES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--images", type=Path, help="folder of JPEGs (the COCO sample of real data, else drawn ones)")
    options = command.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        source, pictures = _source(Path(scratch), options.images, 24 if options.quick else None)
        megabytes = sum(path.stat().st_size for path in pictures) / 1e6
        contestants: dict[str, Callable[[], object]] = {}
        for number in sorted({1, cores}):
            contestants[f"prepare, {number}"] = partial(_on_cores, number, _prepare, source, Path(scratch) / "out")
            contestants[f"decode, {number}"] = partial(_on_cores, number, _decode, pictures, number)
        timings = take_turns(contestants, chosen_device(options), rounds=options.rounds, description="preparing")

    rows = [
        {
            "work": name.split(", ")[0],
            "cores": int(name.split(", ")[1]),
            **timing.summary,
            "pictures_per_second": len(pictures) / timing.best,
        }
        for name, timing in timings.items()
    ]
    speed = {(row["work"], row["cores"]): row["pictures_per_second"] for row in rows}
    measured = {"rows": rows, "megabytes": megabytes}
    lines = [Line(f"{work}, {number} cores: pictures/s", value, "{:.0f}") for (work, number), value in speed.items()]
    lines += [
        Line(
            f"prepare against decode, {number} cores",
            speed["prepare", number] / speed["decode", number],
            "{:.0%}",
            SHARE_TARGET,
        )
        for number in sorted({1, cores})
    ]
    if cores > 1:
        scaling = speed["prepare", cores] / speed["prepare", 1]
        lines.append(Line(f"prepare, {cores} cores against one", scaling, "{:.2f} x", SCALING_TARGET * cores / 2))
    publish("prepare", options, {"pictures": len(pictures), "cores": cores}, measured, lines, _draw)


def _source(scratch: Path, images: Path | None, limit: int | None) -> tuple[FlickrSource, list[Path]]:
    """A set in Karpathy's form over a folder of pictures."""
    if images is None:
        images = COCO_SAMPLE / "images" / "val2014"
        if not images.is_dir() or limit is not None:
            images = draw_photographs(scratch / "coco", limit or 400) / "images" / "train2014"
    originals = sorted(images.glob("*.jpg"))[:limit]
    if not originals:
        raise UserError(f"{images} holds no .jpg; give --images a folder that does")
    # Enough of them that starting and finishing, which take one core, do not count.
    folder = scratch / "pictures"
    folder.mkdir()
    pictures = [folder / f"{number}-{path.name}" for number in range(1 if limit else _COPIES) for path in originals]
    for path in pictures:
        path.symlink_to(images.absolute() / path.name.partition("-")[2])
    entries = [
        {"filename": path.name, "split": "train", "sentences": [{"raw": "a picture", "sentid": number}]}
        for number, path in enumerate(pictures)
    ]
    annotations = scratch / "dataset_flickr8k.json"
    annotations.write_text(json.dumps({"images": entries}))
    return FlickrSource(set="flickr8k", annotations=annotations, images=folder), pictures


def _on_cores(number: int, work: Callable[..., object], *arguments: object) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:number])
    try:
        work(*arguments)
    finally:
        os.sched_setaffinity(0, allowed)


def _prepare(source: FlickrSource, out: Path) -> None:
    prepare_set(source, out, allow_partial=True, progress=False)
    shutil.rmtree(out)


def _decode(pictures: list[Path], number: int) -> None:
    with ThreadPoolExecutor(number) as pool:
        for _ in pool.map(_decode_one, pictures):
            pass


def _decode_one(path: Path) -> None:
    Image.open(BytesIO(path.read_bytes())).load()


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = measured["rows"]
    bars = axes.bar(
        [f"{row['work']}\n{row['cores']} cores" for row in rows], [row["pictures_per_second"] for row in rows]
    )
    axes.bar_label(bars, fmt="%.0f")
    axes.set_ylabel("pictures/s")
    figure.suptitle("Preparing a set against reading and decoding its pictures")


if __name__ == "__main__":
    main()
