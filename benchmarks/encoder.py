"""EVE-Base forward and backward as a share of the machine's own matrix product, and its peak memory."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.measure import DTYPES, Timing, follow, peak_memory, precision, take_turns
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.model import EveConfig, EveModel
from eve_core.model.flops import encoder_flops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT_LENGTH = 40
Numbers = dict[tuple[str, int], dict[str, float]]
# By dtype and batch, on a processor.
TARGETS: Numbers = {
    ("float32", 8): {"share_of_peak": 0.80},
    ("float32", 32): {"share_of_peak": 0.80, "peak_memory_gb": 12},
    ("bfloat16", 8): {"share_of_peak": 0.45},
    ("bfloat16", 32): {"share_of_peak": 0.45, "peak_memory_gb": 12},
}
# Measured with the official code (github.com/ssyze/EVE) on two idle cores.
OFFICIAL: Numbers = {
    ("float32", 8): {"share_of_peak": 0.77, "pairs_per_second": 1.67},
    ("float32", 32): {"share_of_peak": 0.48, "pairs_per_second": 1.04, "peak_memory_gb": 18.6},
    ("bfloat16", 8): {"share_of_peak": 0.24, "pairs_per_second": 3.75},
    ("bfloat16", 32): {"share_of_peak": 0.22, "pairs_per_second": 3.56},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser(__doc__).parse_args(arguments)
    device = chosen_device(options)
    size, batches, side = ("tiny", (2, 4), 128) if options.quick else ("base", (8, 32), 2048)
    base = encoder_flops(EveConfig.named("base"), TEXT_LENGTH)
    assert abs(base / 141e9 - 1) < 0.02, f"EVE-Base takes 141 GFLOP a pair, not {base / 1e9:.1f}"
    flops = encoder_flops(EveConfig.named(size), TEXT_LENGTH)

    cases = [(dtype, batch) for dtype in DTYPES for batch in batches]
    memory = {
        case: peak_memory(_run, size, *case, device.type, device=device) for case in follow(cases, "encoder, memory")
    }
    timings = _time(size, batches, side, device, options.rounds, turn_seconds=0.05 if options.quick else 1.0)
    rows = [_row(case, timings, flops, side, memory[case]) for case in cases]
    measured = {
        "flops_per_pair": flops,
        "matmul": {
            dtype: {
                "side": side,
                **timings[f"{dtype} matmul"].summary,
                "gflops_per_second": 2 * side**3 / timings[f"{dtype} matmul"].best / 1e9,
            }
            for dtype in DTYPES
        },
        "rows": rows,
        "official_code_on_two_idle_cores": [
            {"dtype": dtype, "batch": batch, **numbers} for (dtype, batch), numbers in OFFICIAL.items()
        ],
    }
    settings = {"size": size, "image_size": EveConfig.named(size).image_size, "text_length": TEXT_LENGTH}
    # Targets and official numbers are a processor's.
    targets, official = (TARGETS, OFFICIAL) if device.type == "cpu" else ({}, {})
    draw = partial(_draw, targets=targets, official=official)
    reference = "official code, two idle cores"
    publish("encoder", options, settings, measured, _lines(rows, targets, official), draw, reference=reference)


def _build(size: str, device: torch.device) -> EveModel:
    torch.manual_seed(0)
    return EveModel(EveConfig.named(size)).to(device).train()


def _draw_pairs(config: EveConfig, batch: int, device: torch.device) -> dict[str, torch.Tensor]:
    pictures = torch.randn(batch, config.num_channels, config.image_size, config.image_size, device=device)
    texts = torch.randint(1, config.vocab_size, (batch, TEXT_LENGTH), device=device)
    return {"pixel_values": pictures, "input_ids": texts}


def _step(model: EveModel, pairs: dict[str, torch.Tensor], dtype: str) -> None:
    with precision(dtype, pairs["pixel_values"].device):
        output = model(**pairs)
        hidden = torch.cat([output.vision_hidden_state, output.text_hidden_state], dim=1)
        loss = hidden.float().square().mean() + output.load_balance_loss
    loss.backward()
    model.zero_grad(set_to_none=True)


def _run(size: str, dtype: str, batch: int, device_name: str) -> None:
    device = torch.device(device_name)
    model = _build(size, device)
    pairs = _draw_pairs(model.config, batch, device)
    for _ in range(2):
        _step(model, pairs, dtype)


def _time(
    size: str, batches: Sequence[int], side: int, device: torch.device, rounds: int, turn_seconds: float
) -> dict[str, Timing]:
    model = _build(size, device)
    contestants: dict[str, Any] = {}
    for dtype, kind in DTYPES.items():
        left, right = torch.randn(2, side, side, device=device).to(kind)
        contestants[f"{dtype} matmul"] = partial(torch.mm, left, right, out=torch.empty_like(left))
        for batch in batches:
            contestants[f"{dtype} {batch}"] = partial(_step, model, _draw_pairs(model.config, batch, device), dtype)
    return take_turns(contestants, device, rounds=rounds, turn_seconds=turn_seconds, description="encoder")


def _row(case: tuple[str, int], timings: dict[str, Timing], flops: float, side: int, memory: int) -> dict[str, Any]:
    dtype, batch = case
    timing, matmul = timings[f"{dtype} {batch}"], timings[f"{dtype} matmul"]
    work = batch * flops / (2 * side**3)
    return {
        "dtype": dtype,
        "batch": batch,
        **timing.summary,
        "pairs_per_second": batch / timing.best,
        "gflops_per_second": batch * flops / timing.best / 1e9,
        # A step lasts as long as hundreds of products, so that its best call has the machine's bad moments in it and
        # theirs has not: medians compare alike.
        "share_of_peak": work * matmul.median / timing.median,
        "share_of_peak_of_bests": work * matmul.best / timing.best,
        "peak_memory_gb": memory / 1e9,
    }


def _lines(rows: list[dict[str, Any]], targets: Numbers, official: Numbers) -> list[Line]:
    lines = []
    for row in rows:
        case = (row["dtype"], row["batch"])
        for key, words, form in (
            ("share_of_peak", "share of the matmul peak", "{:.0%}"),
            ("pairs_per_second", "pairs/s", "{:.2f}"),
            ("peak_memory_gb", "peak memory", "{:.1f} GB"),
        ):
            what = f"{row['dtype']}, batch {row['batch']}: {words}"
            at_most = key == "peak_memory_gb"
            target, reference = (numbers.get(case, {}).get(key) for numbers in (targets, official))
            lines.append(Line(what, row[key], form, target, at_most=at_most, reference=reference))
    return lines


def _draw(figure: "Figure", measured: dict[str, Any], targets: Numbers, official: Numbers) -> None:
    rows = measured["rows"]
    names = [f"{row['dtype']}\nbatch {row['batch']}" for row in rows]
    quantities = {"share_of_peak": "share of the machine's matmul peak", "peak_memory_gb": "peak memory, GB"}
    for axes, (key, words) in zip(figure.subplots(1, 2), quantities.items(), strict=True):
        axes.bar(names, [row[key] for row in rows], color="tab:blue", label="this project")
        for numbers, colour, label in (
            (official, "tab:red", "official code, two idle cores"),
            (targets, "black", "target"),
        ):
            known = [numbers.get((row["dtype"], row["batch"]), {}).get(key) for row in rows]
            places = [place for place, value in enumerate(known) if value is not None]
            heights = [value for value in known if value is not None]
            axes.hlines(heights, [p - 0.4 for p in places], [p + 0.4 for p in places], colour, linewidth=2, label=label)
        axes.set_ylabel(words)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)  # above the bars
    figure.suptitle("EVE, forward and backward, all tokens real")


if __name__ == "__main__":
    main()
