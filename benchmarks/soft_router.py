"""One soft-router layer beside a dense network of equal FLOPs and the textbook one-hot dispatch, 1k to 32k tokens."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.measure import DTYPES, follow, peak_memory, precision, take_turns
from benchmarks.one_hot_router import OneHotRouter, one_hot_gigabytes
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.model import EveConfig
from eve_core.model.feed_forward import FeedForward
from eve_core.model.sequence import TokenLayout
from eve_core.model.soft_router import SoftRouter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATIO_TARGETS = {"float32": 1.3, "bfloat16": 1.6}
RATIO_FROM = 2048
# "Linear in tokens": the exponent of a power law through the measurements.
EXPONENT_TARGET = 1.05
# A linear layer's memory at most doubles when its tokens do, and less where its weights take most of it.
MEMORY_TARGET = 2.0
SEQUENCE, TEXT = 256, 40
COLOURS = {"soft router": "tab:blue", "dense": "black", "one-hot": "tab:red"}


class DenseFeedForward(nn.Module):
    """LayerNorm and one network D -> K F -> D: the multiplications of K experts a token, without routing."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        inner = config.num_experts_per_token * config.intermediate_size
        self.feed_forward = FeedForward(config.hidden_size, inner, config.hidden_act)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.feed_forward(self.norm(hidden))


LAYERS: dict[str, type[nn.Module]] = {"soft router": SoftRouter, "dense": DenseFeedForward, "one-hot": OneHotRouter}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--one-hot-budget", type=float, default=8.0, help="GB that the one-hot dispatch may take (8)")
    options = command.parse_args(arguments)
    device = chosen_device(options)
    size, sizes = ("tiny", [64, 128, 256]) if options.quick else ("base", [1024 * 2**power for power in range(6)])
    experts = EveConfig.named(size).num_experts
    skipped = [tokens for tokens in sizes if one_hot_gigabytes(tokens, experts) > options.one_hot_budget]

    cases = [(layer, tokens, dtype) for tokens in sizes for layer in _contestants(tokens, skipped) for dtype in DTYPES]
    memory = {
        (layer, tokens, dtype): peak_memory(_run, size, layer, tokens, dtype, device.type, device=device)
        for layer, tokens, dtype in follow(cases, "soft router, memory")
    }
    layers = {name: _build(name, size, device) for name in LAYERS}
    rows = []
    for tokens in sizes:
        hidden = _draw_tokens(tokens, size, device)
        timings = take_turns(
            {
                f"{layer} {dtype}": partial(_step, layers[layer], hidden, dtype)
                for dtype in DTYPES
                for layer in _contestants(tokens, skipped)
            },
            device,
            rounds=options.rounds,
            turn_seconds=0.02 if options.quick else 2.0,
            description=f"soft router, {tokens} tokens",
        )
        for layer in _contestants(tokens, skipped):
            for dtype in DTYPES:
                timing, dense = timings[f"{layer} {dtype}"], timings[f"dense {dtype}"]
                row = {"layer": layer, "tokens": tokens, "dtype": dtype, **timing.summary}
                row["ratio_to_dense"] = timing.best / dense.best
                row["ratio_to_dense_of_medians"] = timing.median / dense.median
                rows.append({**row, "peak_memory_gb": memory[layer, tokens, dtype] / 1e9})
    measured = {
        "rows": rows,
        "one_hot_left_out": [{"tokens": t, "estimated_gb": one_hot_gigabytes(t, experts)} for t in skipped],
    }
    settings = {"size": size, "sequence": SEQUENCE, "text": TEXT, "one_hot_budget_gb": options.one_hot_budget}
    publish("soft_router", options, settings, measured, _lines(rows, sizes), _draw)


def _contestants(tokens: int, skipped: Sequence[int]) -> list[str]:
    return [layer for layer in LAYERS if layer != "one-hot" or tokens not in skipped]


def _build(layer: str, size: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    module = LAYERS[layer](EveConfig.named(size))
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif not name.startswith("norm"):
            nn.init.normal_(parameter, std=0.02)
    return module.to(device).train()


def _draw_tokens(tokens: int, size: str, device: torch.device) -> torch.Tensor:
    """(tokens / SEQUENCE, SEQUENCE, D) with a gradient, as between two blocks."""
    length = min(SEQUENCE, tokens)
    width = EveConfig.named(size).hidden_size
    return torch.randn(tokens // length, length, width, device=device, requires_grad=True)


def _step(layer: nn.Module, hidden: torch.Tensor, dtype: str) -> None:
    with precision(dtype, hidden.device):
        if isinstance(layer, SoftRouter):
            real = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            output, routing = layer(hidden, TokenLayout(hidden.shape[1] - TEXT, real, padded=False))
            loss = output.float().square().mean() + routing.use.load_balance_loss()
        else:
            loss = layer(hidden).float().square().mean()
    loss.backward()
    layer.zero_grad(set_to_none=True)
    hidden.grad = None


def _run(size: str, layer: str, tokens: int, dtype: str, device_name: str) -> None:
    device = torch.device(device_name)
    module, hidden = _build(layer, size, device), _draw_tokens(tokens, size, device)
    for _ in range(2):
        _step(module, hidden, dtype)


def _lines(rows: list[dict[str, Any]], sizes: Sequence[int]) -> list[Line]:
    start = RATIO_FROM if sizes[-1] > RATIO_FROM else sizes[1]
    lines = []
    for layer in ("soft router", "one-hot"):
        for dtype in DTYPES:
            own = [row for row in rows if row["layer"] == layer and row["dtype"] == dtype]
            chosen = [row for row in own if row["tokens"] >= start]
            if len(chosen) < 2:
                continue
            # The one-hot dispatch has no targets: it is what the layer is compared with.
            ratio, exponent = (RATIO_TARGETS[dtype], EXPONENT_TARGET) if layer == "soft router" else (None, None)
            worst = max(row["ratio_to_dense"] for row in chosen)
            time = _exponent([(row["tokens"], row["best_seconds"]) for row in chosen])
            name = f"{layer}, {dtype}"
            lines += [
                Line(f"{name}: time to dense, worst", worst, "{:.2f} x", ratio, at_most=True),
                Line(f"{name}: exponent of time in tokens", time, "{:.2f}", exponent, at_most=True),
            ]
            memory = [row["peak_memory_gb"] for row in own]
            growth = max(more / less for less, more in pairwise(memory))
            what = f"{name}: memory when tokens double, worst"
            lines.append(Line(what, growth, "{:.2f} x", MEMORY_TARGET if exponent else None, at_most=True))
    return lines


def _exponent(points: Sequence[tuple[float, float]]) -> float:
    """Slope through the points in a log-log plot: 1 linear, 2 quadratic."""
    x, y = [math.log(tokens) for tokens, _ in points], [math.log(value) for _, value in points]
    middle, height = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    panels = figure.subplots(1, 3)
    quantities = {"best_seconds": "seconds", "peak_memory_gb": "peak memory, GB", "ratio_to_dense": "time to dense"}
    for axes, (key, words) in zip(panels, quantities.items(), strict=True):
        for layer, colour in COLOURS.items():
            for dtype, style in (("float32", "-"), ("bfloat16", "--")):
                rows = [row for row in measured["rows"] if row["layer"] == layer and row["dtype"] == dtype]
                tokens, values = [row["tokens"] for row in rows], [row[key] for row in rows]
                axes.plot(tokens, values, style, color=colour, marker=".", label=f"{layer}, {dtype}")
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=words)
        sizes = sorted({row["tokens"] for row in measured["rows"]})
        axes.set_xticks(sizes, [f"{size // 1024}k" if size >= 1024 else str(size) for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
    panels[2].set_yscale("linear")
    panels[2].set_ylim(bottom=0)
    for target in RATIO_TARGETS.values():
        panels[2].axhline(target, color="grey", linewidth=0.8)
    panels[0].legend(fontsize=8, loc="upper left")
    left_out = ", ".join(str(entry["tokens"]) for entry in measured["one_hot_left_out"])
    note = f" (one-hot left out at {left_out} tokens: too large)" if left_out else ""
    figure.suptitle(f"One soft-router layer, forward and backward{note}")


if __name__ == "__main__":
    main()
