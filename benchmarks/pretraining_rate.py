"""EVE-Base pre-training in bf16 on one GPU, compiled and not: pairs a second, and the share of the GPU's peak (MFU)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.measure import take_turns
from benchmarks.pretraining_step import MAX_TEXT_LENGTH, build, draw_batch, step
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.model import EveConfig
from eve_core.model.flops import pretraining_flops
from eve_core.training.throughput import known_peak

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MFU_TARGET = 0.40
# What the paper's 2.14 hours an epoch of 10 million pairs on eight A100 come to.
PAPER_PAIRS_PER_SECOND = 160


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--batch", type=int, help="pairs a step (224, the paper's; 2 with --quick)")
    options = command.parse_args(arguments)
    device = chosen_device(options)
    size = "tiny" if options.quick else "base"
    batch = options.batch or (2 if options.quick else 224)
    model = build(EveConfig.named(size), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    pairs = draw_batch(model.config, [MAX_TEXT_LENGTH] * batch, device)
    compiled = build(EveConfig.named(size), device)
    compiled.load_state_dict(model.state_dict())
    compiled_optimizer = torch.optim.AdamW(compiled.parameters(), lr=1e-4, fused=True)
    if device.type == "cuda":  # where a processor's compiler would take minutes for nothing
        for block in compiled.backbone.blocks:
            block.compile()
    contestants = {
        "eager": lambda: step(model, pairs, "bfloat16", optimizer),
        "compiled": lambda: step(compiled, pairs, "bfloat16", compiled_optimizer),
    }
    timings = take_turns(contestants, device, rounds=options.rounds, description="pre-training rate")

    flops = pretraining_flops(model.config, MAX_TEXT_LENGTH, 0.75, 0.5)
    peak = known_peak(_name(device))
    rows = [
        {
            "mode": name,
            **timing.summary,
            "pairs_per_second": batch / timing.best,
            "tflops_per_second": flops * batch / timing.best / 1e12,
            "mfu": flops * batch / timing.best / peak if peak else None,
        }
        for name, timing in timings.items()
    ]
    measured = {"flops_per_pair": flops, "peak_flops_per_second": peak, "rows": rows}
    settings = {"size": size, "batch": batch, "dtype": "bfloat16", "text_length": MAX_TEXT_LENGTH}
    publish("pretraining_rate", options, settings, measured, _lines(rows), _draw, reference="paper, one A100")


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"


def _lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    lines = []
    for row in rows:
        lines.append(
            Line(f"{row['mode']}: pairs/s", row["pairs_per_second"], "{:.1f}", reference=PAPER_PAIRS_PER_SECOND)
        )
        if row["mfu"] is not None:
            target = MFU_TARGET if row["mode"] == "compiled" else None
            lines.append(Line(f"{row['mode']}: MFU", row["mfu"], "{:.0%}", target))
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axis = figure.subplots()
    rows = measured["rows"]
    bars = axis.bar([row["mode"] for row in rows], [row["pairs_per_second"] for row in rows], color="tab:blue")
    axis.bar_label(bars, labels=[_label(row) for row in rows])
    axis.axhline(PAPER_PAIRS_PER_SECOND, color="black", linestyle="--", label="paper, one A100")
    axis.set_ylabel("pairs/s, forward, backward and update")
    axis.legend()
    figure.suptitle("Pre-training of EVE-Base in bf16")


def _label(row: dict[str, Any]) -> str:
    share = f", MFU {row['mfu']:.0%}" if row["mfu"] is not None else ""
    return f"{row['pairs_per_second']:.1f}{share}"


if __name__ == "__main__":
    main()
