"""Validation of generated data sets of up to a million annotation rows: seconds and memory of a fresh process."""

import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Timing, follow
from benchmarks.results import Line, parser, publish
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.shards import ShardWriter
from eve_core.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = (250_000, 500_000, 1_000_000)
QUICK_ROWS = (1_000, 2_000)
SECONDS_TARGET = 60
MEMORY_TARGET = 2.0
# Of ten rows, six are captions (five a picture), three questions about the same pictures, and one a statement.
KINDS = ("caption",) * 6 + ("question",) * 3 + ("statement",)
BLANK_CAPTIONS = 0.001
_TEXT = (
    "a the of on in with and man woman dog cat red blue green large small two three sitting standing riding holding "
    "street table beach grass wave train plate pizza horse kite snow board window tree sign old young white black"
)
_WORDS = _TEXT.split()
_ANSWERS = ["yes", "no", *map(str, range(20)), *_WORDS]
# From the start of the interpreter to the last page, with all imports.
_CODE = """
import json, sys
from pathlib import Path
from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.quality import validate_data
report = validate_data(PreparedData.open(sys.argv[1]), ValidationConfig(), Path(sys.argv[2]))
report.raise_if_failed()
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(json.dumps({"peak_bytes": peak, "quarantined": report.quarantined, "checks": len(report.results)}))
"""

Place = tuple[str, str, str | None]
"""Table, set and split of a row."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--rows", type=int, nargs="+", help="annotation rows of the data sets (250k, 500k, 1M)")
    options = command.parse_args(arguments)
    sizes = options.rows or (QUICK_ROWS if options.quick else ROWS)
    rows = []
    with TemporaryDirectory(prefix="eve-validation-") as scratch:
        for size in follow(sizes, "validation"):
            folder = Path(scratch) / str(size)
            generate(folder, size)
            runs = [_validate(folder, Path(scratch) / "report") for _ in range(options.rounds)]
            timing = Timing(tuple(run["seconds"] for run in runs))
            rows.append(
                {
                    "annotation_rows": size,
                    **timing.summary,
                    "peak_memory_gb": max(run["peak_bytes"] for run in runs) / 1e9,
                    "checks": runs[0]["checks"],
                    "quarantined": runs[0]["quarantined"],
                }
            )
    settings = {"kinds": {kind: KINDS.count(kind) for kind in KINDS}, "blank_captions": BLANK_CAPTIONS}
    publish("validation", options, settings, {"rows": rows}, _lines(rows), _draw)


def generate(folder: Path, size: int) -> None:
    """Write a prepared folder of `size` annotation rows that break no rule, but for blank captions."""
    sets: dict[str, SetSummary] = {name: SetSummary() for name in ("coco_captions", "vqa_v2", "nlvr2")}
    with ExitStack() as stack:
        writers: dict[Place, ShardWriter] = {}
        for place, row in _rows(size):
            if place not in writers:
                writers[place] = stack.enter_context(ShardWriter(folder, *place))
            writers[place].write(row)
            _, name, split = place
            if split is not None:
                sets[name].counts[split] = sets[name].counts.get(split, 0) + 1
    Manifest(shards=tuple(shard for writer in writers.values() for shard in writer.shards), sets=sets).write(folder)


def _rows(size: int) -> Iterator[tuple[Place, dict[str, Any]]]:
    """All rows, pictures before what is said of them."""
    chosen = random.Random(0)
    stored: Counter[str] = Counter()
    for number in range(size):
        block, place = divmod(number, len(KINDS))
        kind = KINDS[place]
        captions_before = block * KINDS.count("caption") + min(place, KINDS.count("caption") - 1)
        namespace, picture = ("nlvr2", block) if kind == "statement" else ("coco", captions_before // 5)
        while stored[namespace] <= picture:
            yield ("images", namespace, None), _picture(f"{namespace}/{stored[namespace]}")
            stored[namespace] += 1
        # A tenth of the pictures is held out, with all that is said of them.
        split = "train" if picture % 10 else "dev" if kind == "statement" else "val"
        text = " ".join(chosen.choices(_WORDS, k=chosen.randint(5, 16)))
        row: dict[str, Any] = {f"{kind}_id": str(number), "image_id": f"coco/{picture}", kind: text, "split": split}
        if kind == "caption":
            row["caption"] = "" if chosen.random() < BLANK_CAPTIONS else text
            yield ("captions", "coco_captions", split), row
        elif kind == "question":
            answer = chosen.choice(_ANSWERS)
            row["answers"] = [answer] * 7 + chosen.choices(_ANSWERS, k=3)
            labels = {"question_id": number, "question_type": "what", "answer_type": "other", "answer": answer}
            yield ("questions", "vqa_v2", split), row | labels
        else:
            row |= dict.fromkeys(("left_image_id", "right_image_id"), f"nlvr2/{picture}")
            yield ("statements", "nlvr2", split), row | {"label": chosen.random() < 0.5}


def _picture(image_id: str) -> dict[str, Any]:
    digest = hashlib.sha256(image_id.encode())
    return {
        "image_id": image_id,
        "file_name": f"{image_id.split('/')[1]}.jpg",
        "width": 400 + digest.digest()[0],
        "height": 300 + digest.digest()[1],
        "format": "JPEG",
        "mode": "RGB",
        "sha256": digest.hexdigest(),
        "phash": digest.digest(),
        "coco_id": None,
        "bytes": b"",
    }


def _validate(folder: Path, report: Path) -> dict[str, Any]:
    """Seconds and peak memory of one validation in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-c", _CODE, str(folder), str(report)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise UserError(f"a validation ended with {process.returncode}: {process.stderr[-500:]}; mend it first")
    return {"seconds": seconds, **json.loads(process.stdout.splitlines()[-1])}


def _lines(rows: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for row in rows:
        # The targets are for a million rows.
        aims = row["annotation_rows"] >= ROWS[-1]
        what = f"{row['annotation_rows']:,} rows"
        lines += [
            Line(f"{what}: seconds", row["best_seconds"], "{:.1f}", SECONDS_TARGET if aims else None, at_most=True),
            Line(
                f"{what}: peak memory, GB",
                row["peak_memory_gb"],
                "{:.2f}",
                MEMORY_TARGET if aims else None,
                at_most=True,
            ),
        ]
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    rows = measured["rows"]
    sizes = [row["annotation_rows"] / 1e6 for row in rows]
    panels = zip(
        figure.subplots(1, 2),
        (("best_seconds", "seconds", SECONDS_TARGET), ("peak_memory_gb", "peak memory, GB", MEMORY_TARGET)),
        strict=True,
    )
    for axis, (name, label, target) in panels:
        axis.plot(sizes, [row[name] for row in rows], "o-", color="tab:blue")
        axis.axhline(target, color="tab:red", label="target for a million rows")
        axis.set(xlabel="million annotation rows", ylabel=label, ylim=(0, None), xlim=(0, None))
        axis.legend()
    figure.suptitle("Validation with Great Expectations, in a fresh process")


if __name__ == "__main__":
    main()
