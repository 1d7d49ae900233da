"""The training log as curves."""

import json
import re
from pathlib import Path

from eve_core.evaluation.figures.canvas import figure_folder, save, subplots

_COLUMNS = 3


def training_figure(checkpoint: Path) -> Path:
    """The loss, its parts, and what the routers did, over the steps.

    Args:
        checkpoint: folder that training wrote; the figure goes into it.
    """
    log = [json.loads(line) for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]
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
    folder = figure_folder(checkpoint)
    save(figure, folder / "training.png")
    return folder


def _panels(names: list[str]) -> dict[str, dict[str, str]]:
    """Title -> label -> name in the log."""
    panels: dict[str, dict[str, str]] = {}
    for name in ("loss", "mlm", "mim", "itc", "itm"):
        if name in names:
            panels[name] = {name: name}
    for name in names:
        if found := re.fullmatch(r"router/(\d+)/(\w+)", name):
            panels.setdefault(f"router {found[2].replace('_', ' ')}", {})[f"block {found[1]}"] = name
    return panels
