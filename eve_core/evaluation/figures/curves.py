"""The training log as curves, and the experts' loads as pictures over the steps."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.evaluation.figures.canvas import figure_folder, save, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3


def training_figure(checkpoint: Path) -> Path:
    """training.png: the loss, its parts, what the routers did; expert_load.png, where the log has the experts' loads.

    Args:
        checkpoint: folder that training wrote; the figures go into it.
    """
    log = [json.loads(line) for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]
    folder = figure_folder(checkpoint)
    save(_draw_curves(log), folder / "training.png")
    save(_draw_load(log), folder / "expert_load.png")
    return folder


def _draw_curves(log: list[dict[str, Any]]) -> "Figure":
    panels = _panels(list(log[0]) if log else ["loss"])
    rows = -(-len(panels) // _COLUMNS)
    figure, axes = subplots(rows, min(_COLUMNS, len(panels)), width=3.4 * min(_COLUMNS, len(panels)), height=2.6)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        for label, name in lines.items():
            axis.plot([entry["step"] for entry in log], [entry[name] for entry in log], label=label)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _draw_load(log: list[dict[str, Any]]) -> "Figure | None":
    """A row a soft-router block, a column a modality: experts upward, steps to the right."""
    blocks = [found[1] for name in log[0] if (found := re.fullmatch(r"router/(\d+)/vision_load", name))] if log else []
    if not blocks:
        return None
    figure, axes = subplots(len(blocks), 2, width=9.0, height=2.4)
    for row, block in zip(axes, blocks, strict=True):
        for axis, modality in zip(row, ("vision", "text"), strict=True):
            load = [[100 * share for share in entry[f"router/{block}/{modality}_load"]] for entry in log]
            experts = len(load[0])
            extent = (log[0]["step"] - 0.5, log[-1]["step"] + 0.5, -0.5, experts - 0.5)
            image = axis.imshow([*zip(*load, strict=True)], aspect="auto", origin="lower", extent=extent, vmin=0)
            axis.set_title(f"block {block}, {modality} tokens", fontsize=10, loc="left")
            axis.tick_params(labelsize=8)
            axis.set_ylabel("expert", fontsize=8)
            figure.colorbar(image, ax=axis).set_label("% of choices", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("step", fontsize=8)
    figure.tight_layout()
    return figure


def _panels(names: list[str]) -> dict[str, dict[str, str]]:
    """Title -> label -> name in the log."""
    panels: dict[str, dict[str, str]] = {}
    for name in ("loss", "mlm", "mim", "itc", "itm"):
        if name in names:
            panels[name] = {name: name}
    for name in names:
        if found := re.fullmatch(r"router/(\d+)/(entropy|dead_experts)", name):
            panels.setdefault(f"router {found[2].replace('_', ' ')}", {})[f"block {found[1]}"] = name
    return panels
