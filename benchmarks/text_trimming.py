"""The pre-training step with texts trimmed to the batch's longest, against texts padded to 40 tokens."""

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import DTYPES, take_turns
from benchmarks.pretraining_step import MAX_TEXT_LENGTH, Batch, build, draw_batch, step, trim
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer import train_tokenizer
from eve_core.errors import UserError, existing_file
from eve_core.model import EveConfig, EveForPreTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEED_TARGET = 1.15
VOCABULARY = 64000
_REAL_DATA = Path(os.environ.get("EVE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
_DEFAULT_CAPTIONS = _REAL_DATA / "coco" / "annotations" / "captions_sample2014.json"
# Tokens a caption, and how many of 1,711 COCO captions have them: for machines without the captions.
RECORDED = {
    9: 3, 10: 45, 11: 205, 12: 295, 13: 287, 14: 255, 15: 198, 16: 140, 17: 89, 18: 48, 19: 39, 20: 29, 21: 20, 22: 13,
    23: 10, 24: 10, 25: 5, 26: 7, 27: 3, 28: 1, 29: 4, 30: 2, 34: 2, 39: 1,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--captions", type=Path, help="COCO captions or Karpathy json (the COCO sample of real data)")
    command.add_argument("--size", choices=("tiny", "base", "large"), help="of the network (base; tiny with --quick)")
    command.add_argument("--batch", type=int, help="pairs a step (8 on a processor, 128 on CUDA)")
    command.add_argument("--batches", type=int, default=4, help="random batches that a turn goes through (4)")
    command.add_argument("--dtype", choices=tuple(DTYPES), default="bfloat16", help="bfloat16 (autocast) or float32")
    options = command.parse_args(arguments)
    device = chosen_device(options)
    size = options.size or ("tiny" if options.quick else "base")
    batch = options.batch or (8 if device.type == "cpu" else 128)
    source, lengths = _read_lengths(options.captions)

    model = build(EveConfig.named(size), device)
    chosen = random.Random(0)
    padded = [
        draw_batch(model.config, chosen.choices([*lengths], [*lengths.values()], k=batch), device)
        for _ in range(options.batches)
    ]
    trimmed = [trim(pairs) for pairs in padded]
    contestants = {
        "trimmed": lambda: _pass(model, trimmed, options.dtype),
        "padded": lambda: _pass(model, padded, options.dtype),
    }
    timings = take_turns(contestants, device, rounds=options.rounds, description="text trimming")

    pairs = batch * options.batches
    measured = {
        "rows": [
            {"texts": name, **timing.summary, "pairs_per_second": pairs / timing.best}
            for name, timing in timings.items()
        ],
        "speedup": timings["padded"].best / timings["trimmed"].best,
        "speedup_of_medians": timings["padded"].median / timings["trimmed"].median,
        "mean_length": sum(length * number for length, number in lengths.items()) / lengths.total(),
        "mean_longest_of_a_batch": sum(pairs["input_ids"].shape[1] for pairs in trimmed) / len(trimmed),
        "lengths": {str(length): number for length, number in sorted(lengths.items())},
    }
    settings = {
        "size": size,
        "captions": source,
        "padded_to": MAX_TEXT_LENGTH,
        "dtype": options.dtype,
        "batch": batch,
        "batches": options.batches,
    }
    publish("text_trimming", options, settings, measured, _lines(measured), _draw)


def _read_lengths(path: Path | None) -> tuple[str, Counter[int]]:
    """Where the lengths come from, and how many captions have each; captions of more tokens than fit are cut."""
    if path is None and not _DEFAULT_CAPTIONS.is_file():
        return "recorded lengths of COCO captions", Counter(RECORDED)
    path = existing_file(path or _DEFAULT_CAPTIONS, "the captions file")
    captions = _read_captions(path)
    tokenizer = train_tokenizer(captions, TokenizerConfig(vocab_size=VOCABULARY), MAX_TEXT_LENGTH)
    return path.name, Counter(min(len(ids), MAX_TEXT_LENGTH) for ids in tokenizer(captions)["input_ids"])


def _read_captions(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text())
        if "annotations" in content:
            return [annotation["caption"] for annotation in content["annotations"]]
        return [sentence["raw"] for image in content["images"] for sentence in image["sentences"]]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the captions file {path} is neither COCO's captions json nor Karpathy's ({error!r}); give one of these"
        ) from None


def _pass(model: EveForPreTraining, batches: Sequence[Batch], dtype: str) -> None:
    for batch in batches:
        step(model, batch, dtype)


def _lines(measured: dict[str, Any]) -> list[Line]:
    lines = [Line(f"{row['texts']}: pairs/s", row["pairs_per_second"]) for row in measured["rows"]]
    lines.append(Line("mean length of a caption, tokens", measured["mean_length"], "{:.1f}"))
    lines.append(Line("mean longest of a batch, tokens", measured["mean_longest_of_a_batch"], "{:.1f}"))
    return [*lines, Line("speed, trimmed to padded", measured["speedup"], "{:.2f} x", SPEED_TARGET)]


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    speed, lengths = figure.subplots(1, 2)
    rows = measured["rows"]
    bars = speed.bar([row["texts"] for row in rows], [row["pairs_per_second"] for row in rows], color="tab:blue")
    speed.bar_label(bars, fmt="%.2f")
    speed.set_ylabel("pairs/s, forward and backward")
    lengths.bar([int(length) for length in measured["lengths"]], [*measured["lengths"].values()], color="tab:blue")
    lengths.axvline(measured["mean_longest_of_a_batch"], color="tab:red", label="mean longest of a batch")
    lengths.axvline(MAX_TEXT_LENGTH, color="black", label="padded to")
    lengths.set(xlabel="tokens", ylabel="captions")
    lengths.legend()
    figure.suptitle(f"Texts trimmed to the longest of the batch: {measured['speedup']:.2f} times as fast")


if __name__ == "__main__":
    main()
