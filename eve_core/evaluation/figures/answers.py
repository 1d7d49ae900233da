"""What a task got right and what it got wrong."""

import io
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.data.prepared import ImageStore, PreparedData
from eve_core.evaluation.figures.calibration import draw_calibration
from eve_core.evaluation.figures.canvas import SEED, figure_folder, pictures, save
from eve_core.evaluation.figures.routing import draw_loads

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

_EXAMPLES = 6
_RIGHT, _WRONG = "#1a7f37", "#b3261e"


def task_figures(data: PreparedData, task: str, scores: Path) -> Path:
    """A few items that the candidate got right and a few that it got wrong, its calibration, and its experts' load.

    Args:
        data: for the pictures.
        task: vqa, nlvr2 or retrieval.
        scores: folder that scoring wrote; the figures go into it.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(scores / "items.parquet")
    items = table.to_pylist()
    if task == "retrieval":
        items = [item for item in items if item["item_id"].startswith("image:")]
    order = np.random.default_rng(SEED).permutation(len(items))
    least = 1.0 if task == "retrieval" else 0.5  # found first, or what most annotators say
    right = [items[i] for i in order if items[i]["candidate"] >= least][:_EXAMPLES]
    wrong = [items[i] for i in order if items[i]["candidate"] < least][:_EXAMPLES]
    draw = _retrieved if task == "retrieval" else _answered
    folder = figure_folder(scores)
    for name, chosen in (("right", right), ("wrong", wrong)):
        save(draw(data.images, chosen) if chosen else None, folder / f"{name}.png")
    calibration = None
    if "confidence" in table.column_names:
        values = [table[name].to_numpy() for name in ("confidence", "candidate")]
        sound = np.isfinite(values).all(0)
        calibration = draw_calibration(values[0][sound], values[1][sound]) if sound.any() else None
    save(calibration, folder / "calibration.png")
    loads = json.loads((scores / "scores.json").read_text())["candidate"]["expert_load"]
    save(draw_loads(loads) if loads else None, folder / "experts.png")
    return folder


def _answered(images: ImageStore, items: list[dict[str, Any]]) -> "Figure":
    """Pictures (two of them for NLVR2) with the question, the answer given and the right one."""
    figure, axes = pictures(rows=1, columns=len(items), width=2.1 * len(items), height=2.9)
    for axis, item in zip(axes[0], items, strict=True):
        axis.imshow(_shown(images, item))
        color = _RIGHT if item["candidate"] >= 0.5 else _WRONG
        axis.set_title("\n".join(textwrap.wrap(item["text"], 26)), fontsize=8)
        axis.text(0.5, -0.05, f"{item['prediction']}", transform=axis.transAxes, ha="center", va="top", color=color)
        if item["prediction"] != item["target"]:
            truth = f"right: {item['target']}"
            axis.text(0.5, -0.22, truth, transform=axis.transAxes, ha="center", va="top", fontsize=8)
    return figure


def _retrieved(images: ImageStore, items: list[dict[str, Any]]) -> "Figure":
    """A caption a row with the five pictures ranked first; the right one is framed."""
    figure, axes = pictures(rows=len(items), columns=5, width=8.5, height=1.3)
    for row, item in zip(axes, items, strict=True):
        for axis, image_id in zip(row, item["prediction"].split("\n"), strict=False):
            axis.imshow(_open(images[image_id]))
            if image_id == item["target"]:
                axis.add_patch(_frame(axis))
        label = "\n".join(textwrap.wrap(f"{item['text']} (rank {item['rank']})", 38))
        row[0].text(-0.1, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.36, right=0.99, wspace=0.05, hspace=0.15)
    return figure


def _frame(axis: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=_RIGHT, linewidth=4)


def _shown(images: ImageStore, item: dict[str, Any]) -> "Image":
    from PIL import Image

    left = _open(images[item["image_id"]])
    if not item.get("second_image_id"):
        return left
    right = _open(images[item["second_image_id"]])
    height = min(left.height, right.height)
    pair = [picture.resize((round(picture.width * height / picture.height), height)) for picture in (left, right)]
    gap = max(2, height // 20)
    canvas = Image.new("RGB", (pair[0].width + gap + pair[1].width, height), "white")
    canvas.paste(pair[0], (0, 0))
    canvas.paste(pair[1], (pair[0].width + gap, 0))
    return canvas


def _open(data: bytes) -> "Image":
    from PIL import Image

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.thumbnail((320, 320))
    return picture
