"""The pre-training step with texts trimmed to the batch's longest, against texts padded to 40 tokens."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import DTYPES, take_turns
from benchmarks.pretraining_step import MAX_TEXT_LENGTH, Batch, build, draw_batch, step, trim
from benchmarks.results import Line, chosen_device, parser, publish
from benchmarks.samples import COCO_SAMPLE, captions_file
from eve_core.config import TokenizerConfig
from eve_core.data.schedule import BATCHES_TO_SORT
from eve_core.data.tokenizer import train_tokenizer
from eve_core.errors import UserError, existing_file
from eve_core.model import EveConfig, EveForPreTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEED_TARGET = 1.15
VOCABULARY = 64000
_DEFAULT_CAPTIONS = captions_file(COCO_SAMPLE)
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
    command.add_argument("--batch", type=int, help="pairs a step (32 on a processor, 128 on CUDA)")
    command.add_argument("--batches", type=int, default=2, help="random batches that a turn goes through (2)")
    command.add_argument("--dtype", choices=tuple(DTYPES), default="bfloat16", help="bfloat16 (autocast) or float32")
    options = command.parse_args(arguments)
    device = chosen_device(options)
    size = options.size or ("tiny" if options.quick else "base")
    batch = options.batch or (32 if device.type == "cpu" else 128)
    source, lengths = _read_lengths(options.captions)

    model = build(EveConfig.named(size), device)
    chosen = random.Random(0)
    drawn = [chosen.choices([*lengths], [*lengths.values()], k=batch) for _ in range(options.batches)]
    # As the schedule of training makes them up: sorted within a stretch of batches; of those, evenly spaced ones.
    stretch = sorted(chosen.choices([*lengths], [*lengths.values()], k=batch * BATCHES_TO_SORT))
    similar = [stretch[place : place + batch] for place in _evenly(options.batches, batch)]
    padded = [draw_batch(model.config, texts, device) for texts in drawn]
    batches = {
        "padded": padded,
        "trimmed": [trim(pairs) for pairs in padded],
        "trimmed, of similar length": [trim(draw_batch(model.config, texts, device)) for texts in similar],
    }
    contestants = {name: partial(_pass, model, each, options.dtype) for name, each in batches.items()}
    timings = take_turns(contestants, device, rounds=options.rounds, description="text trimming")

    pairs = batch * options.batches
    measured = {
        "rows": [
            {"texts": name, **timing.summary, "pairs_per_second": pairs / timing.best}
            for name, timing in timings.items()
        ],
        "speedup": {name: timings["padded"].best / timing.best for name, timing in timings.items()},
        "speedup_of_medians": {name: timings["padded"].median / timing.median for name, timing in timings.items()},
        "mean_length": sum(length * number for length, number in lengths.items()) / lengths.total(),
        "mean_longest_of_a_batch": {
            name: sum(pairs["input_ids"].shape[1] for pairs in each) / len(each) for name, each in batches.items()
        },
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


def _evenly(number: int, batch: int) -> list[int]:
    """Where `number` batches of a stretch begin, from short to long."""
    return [batch * int((place + 0.5) * BATCHES_TO_SORT / number) for place in range(number)]


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
    for name in [*measured["speedup"]][1:]:
        lines.append(Line(f"{name}: mean longest, tokens", measured["mean_longest_of_a_batch"][name], "{:.1f}"))
        lines.append(Line(f"{name}: speed to padded", measured["speedup"][name], "{:.2f} x", SPEED_TARGET))
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    speed, lengths = figure.subplots(1, 2)
    rows = measured["rows"]
    bars = speed.bar([row["texts"] for row in rows], [row["pairs_per_second"] for row in rows], color="tab:blue")
    speed.bar_label(bars, fmt="%.2f")
    speed.set_ylabel("pairs/s, forward and backward")
    lengths.bar([int(length) for length in measured["lengths"]], [*measured["lengths"].values()], color="tab:blue")
    colours = dict(zip(measured["speedup"], ("black", "tab:red", "tab:green"), strict=True))
    for name, longest in measured["mean_longest_of_a_batch"].items():
        lengths.axvline(longest, color=colours[name], label=f"mean longest of a batch, {name}")
    # Room for the legend above the bars.
    lengths.set(xlabel="tokens", ylabel="captions", ylim=(0, 1.5 * max(measured["lengths"].values())))
    lengths.legend()
    speedups = ", ".join(f"{name} {value:.2f} x" for name, value in [*measured["speedup"].items()][1:])
    figure.suptitle(f"Texts trimmed to the longest of the batch: {speedups}")


if __name__ == "__main__":
    main()
