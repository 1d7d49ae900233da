"""The loader (decode, crop, flip, tokenise, mask, collate) against bare torchvision decoding of the same pictures."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, SequentialSampler
from torchvision.io import ImageReadMode, decode_image

from benchmarks.measure import take_turns
from benchmarks.results import Line, parser, publish
from benchmarks.samples import COCO_SAMPLE, draw_photographs, prepare_photographs
from eve_core.config import AugmentationConfig, TokenizerConfig
from eve_core.data.collation import Collator
from eve_core.data.examples import Examples
from eve_core.data.prepared import ImageStore, PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.schedule import ShuffledEpochs
from eve_core.data.tokenizer import train_tokenizer
from eve_core.model import EveConfig
from eve_core.objectives import MaskedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE_TARGET = 0.80
AUGMENTATIONS = {
    "loader": AugmentationConfig(),
    "loader, colour jitter": AugmentationConfig(color_jitter=0.4),
    "loader, RandAugment": AugmentationConfig(rand_augment=(2, 7)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.set_defaults(device="cpu")
    command.add_argument("--size", type=int, default=224, help="side of the model's pictures in pixels (224)")
    command.add_argument("--batch", type=int, default=64, help="pairs a batch (64)")
    command.add_argument("--pictures", type=int, help="pictures at most (all of the COCO sample; 8 with --quick)")
    command.add_argument("--synthetic", action="store_true", help="drawn photographs even where there are real ones")
    options = command.parse_args(arguments)
    number = options.pictures or (8 if options.quick else None)
    real = COCO_SAMPLE.is_dir() and not (options.synthetic or options.quick)

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.filterwarnings("ignore", "The given buffer is not writable")
    with TemporaryDirectory() as folder:
        coco = COCO_SAMPLE if real else draw_photographs(Path(folder) / "coco", number or 256)
        data = PreparedData.open(prepare_photographs(coco, Path(folder) / "prepared"))
        rows = _one_caption_a_picture(data.table("captions"))[:number]
        names = rows["image_id"].to_pylist()
        contestants: dict[str, Callable[[], object]] = {"decoding": partial(_decode, data.images, names)}
        for name, augmentation in AUGMENTATIONS.items():
            pairs = _pairs(data, rows, options.size, augmentation)
            contestants[name] = partial(_load, pairs, options.batch)
        mean_bytes = sum(len(data.images[name]) for name in names) / len(names)
        timings = take_turns(contestants, torch.device("cpu"), rounds=options.rounds, description="loader")

    decoding = timings["decoding"]
    measured = {
        "rows": [
            {
                "contestant": name,
                **timing.summary,
                "pictures_per_second": len(names) / timing.best,
                "share_of_decoding": decoding.best / timing.best,
                "share_of_decoding_of_medians": decoding.median / timing.median,
            }
            for name, timing in timings.items()
        ],
    }
    settings = {
        "pictures": len(names),
        "source": "COCO sample" if real else "drawn photographs",
        "mean_bytes": mean_bytes,
        "size": options.size,
        "batch": options.batch,
    }
    publish("loader", options, settings, measured, _lines(measured), _draw)


def _decode(images: ImageStore, names: Sequence[str]) -> None:
    for name in names:
        decode_image(torch.frombuffer(images[name], dtype=torch.uint8), ImageReadMode.RGB)


def _load(pairs: Examples, batch: int) -> None:
    """An epoch in this process."""
    schedule = ShuffledEpochs(pairs, len(pairs), 0)
    collate = Collator(pairs.preprocessor.tokenizer.pad_token_id, normalized=False)
    loader: Any = DataLoader(schedule, batch, sampler=SequentialSampler(schedule), collate_fn=collate)  # type: ignore[arg-type]
    for _ in loader:
        pass


def _pairs(data: PreparedData, rows: pa.Table, size: int, augmentation: AugmentationConfig) -> Examples:
    captions = data.table("captions")["caption"].to_pylist()
    tokenizer = train_tokenizer(captions, TokenizerConfig(vocab_size=1000), 40)
    return MaskedPairs(
        rows, data.images, Preprocessor(tokenizer, size, 40), EveConfig.named("base"), 0.75, 0.5, augmentation
    )


def _one_caption_a_picture(rows: pa.Table) -> pa.Table:
    _, first = np.unique(rows["image_id"].to_numpy(zero_copy_only=False), return_index=True)
    return rows.take(first)


def _lines(measured: dict[str, Any]) -> list[Line]:
    lines = [Line(f"{row['contestant']}: pictures/s", row["pictures_per_second"], "{:.0f}") for row in measured["rows"]]
    for row in measured["rows"][1:]:
        target = SHARE_TARGET if row["contestant"] == "loader" else None
        lines.append(Line(f"{row['contestant']}: share of bare decoding", row["share_of_decoding"], "{:.0%}", target))
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axis = figure.subplots()
    rows = measured["rows"]
    bars = axis.bar([row["contestant"] for row in rows], [row["pictures_per_second"] for row in rows], color="tab:blue")
    axis.bar_label(bars, [f"{row['share_of_decoding']:.0%}" for row in rows])
    axis.axhline(SHARE_TARGET * rows[0]["pictures_per_second"], color="black", label=f"{SHARE_TARGET:.0%} of decoding")
    axis.set_ylabel("pictures/s on one core")
    axis.legend(loc="lower left")
    figure.suptitle("The loader against bare decoding of the same pictures")


if __name__ == "__main__":
    main()
