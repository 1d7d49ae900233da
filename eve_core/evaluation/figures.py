"""Pictures for people: what pre-training reconstructs, how the losses fell, what a task got right and wrong.

Every function writes PNG files into a folder `figures` and returns that folder.
"""

import io
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import PretrainingConfig
from eve_core.data.prepared import ImageStore, PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.schedule import ShuffledEpochs

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from PIL.Image import Image

FIGURES = "figures"
_EXAMPLES = 6
_RIGHT, _WRONG = "#1a7f37", "#b3261e"
# Pictures are shown with a seed of their own: always the same ones.
_SEED = 7


def pretraining_figures(data: PreparedData, config: PretrainingConfig, checkpoint: Path) -> Path:
    """Loss curves, and for a few pairs the masked picture, its reconstruction and the words predicted from the picture.

    Args:
        data: the data that was trained on; its held-out captions are shown where there are any.
        config: pairs and mask ratios.
        checkpoint: folder that pre-training wrote; the figures go into it.
    """
    import torch

    from eve_core.data.collation import Collator
    from eve_core.data.transforms import to_pixels
    from eve_core.model import EveForPreTraining
    from eve_core.model.decoder import patchify, unpatchify
    from eve_core.objectives import MaskedPairs

    folder = _folder(checkpoint)
    model = EveForPreTraining.from_pretrained(checkpoint).eval()
    preprocessor = Preprocessor.load(checkpoint)
    pairs = MaskedPairs(
        _unseen_captions(data, config),
        data.images,
        preprocessor,
        model.config.num_patches,
        config.image_mask_ratio,
        config.text_mask_ratio,
    )
    schedule = ShuffledEpochs(len(pairs), _EXAMPLES, _SEED, pairs.example)
    batch = Collator(preprocessor.tokenizer.pad_token_id)([schedule[i] for i in range(min(_EXAMPLES, len(pairs)))])
    with torch.inference_mode():
        output = model(**batch)

    patch_size = model.config.patch_size
    originals = patchify(batch["pixel_values"], patch_size)
    where = batch["masked_patches"].unsqueeze(-1).expand(-1, -1, originals.shape[-1])
    predicted = output.patch_predictions.float()
    if model.config.normalize_pixel_targets:
        variance, mean = torch.var_mean(originals.gather(1, where), dim=-1, keepdim=True)
        predicted = predicted * (variance + 1e-6).sqrt() + mean
    masked = originals.scatter(1, where, torch.full_like(predicted, 0.2))
    restored = originals.scatter(1, where, predicted)
    words = output.token_logits.argmax(-1).split(batch["token_mask"].sum(1).tolist())

    figure, axes = _grid(rows=len(originals), columns=3, width=8.5, height=1.7)
    for row in range(len(originals)):
        for column, patches in enumerate((masked, restored, originals)):
            pixels = to_pixels(unpatchify(patches[row : row + 1], patch_size))[0].permute(1, 2, 0).numpy()
            axes[row][column].imshow(pixels)
        text = _describe_masks(preprocessor, batch, row, words[row].tolist())
        axes[row][2].text(1.1, 0.5, text, transform=axes[row][2].transAxes, va="center", fontsize=8, family="monospace")
    for column, title in enumerate(("masked", "reconstructed", "original")):
        axes[0][column].set_title(title, fontsize=9)
    figure.subplots_adjust(left=0.01, right=0.45, wspace=0.05, hspace=0.1)
    _save(figure, folder / "reconstructions.png")
    training_figure(checkpoint)
    return folder


def training_figure(checkpoint: Path) -> Path:
    """The training log as curves: the loss and its parts over the steps."""
    import matplotlib.pyplot as plt

    log = [json.loads(line) for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]
    parts = [name for name in log[0] if name in ("mlm", "mim") or name.endswith("_loss")] if log else []
    shown = ["loss", *(name for name in parts if "balance" not in name)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 2.6), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        axis.plot([entry["step"] for entry in log], [entry[name] for entry in log], color="#3b5bdb")
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    folder = _folder(checkpoint)
    _save(figure, folder / "training.png")
    return folder


def task_figures(data: PreparedData, task: str, scores: Path) -> Path:
    """A few items that the candidate got right and a few that it got wrong.

    Args:
        data: for the pictures.
        task: vqa, nlvr2 or retrieval.
        scores: folder that scoring wrote; the figures go into it.
    """
    import pyarrow.parquet as pq

    items = pq.read_table(scores / "items.parquet").to_pylist()
    if task == "retrieval":
        items = [item for item in items if item["item_id"].startswith("image:")]
    order = np.random.default_rng(_SEED).permutation(len(items))
    right = [items[i] for i in order if items[i]["candidate"] >= 0.5][:_EXAMPLES]
    wrong = [items[i] for i in order if items[i]["candidate"] < 0.5][:_EXAMPLES]
    draw = _retrieved if task == "retrieval" else _answered
    folder = _folder(scores)
    for name, chosen in (("right", right), ("wrong", wrong)):
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)
        if chosen:
            _save(draw(data.images, chosen), path)
    return folder


def _answered(images: ImageStore, items: list[dict[str, Any]]) -> "Figure":
    """Pictures (two of them for NLVR2) with the question, the answer given and the right one."""
    figure, axes = _grid(rows=1, columns=len(items), width=2.1 * len(items), height=2.9)
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
    figure, axes = _grid(rows=len(items), columns=5, width=8.5, height=1.3)
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


def _unseen_captions(data: PreparedData, config: PretrainingConfig) -> "pa.Table":
    """Captions of the first pre-training set's other splits; its training captions when there is no other."""
    first = config.data[0]
    splits = sorted(
        {shard.split for shard in data.manifest.shards if shard.set == first.set and shard.split} - set(first.splits)
    )
    return data.table("captions", set=first.set, splits=splits or first.splits)


def _describe_masks(preprocessor: Preprocessor, batch: dict[str, Any], row: int, predicted: list[int]) -> str:
    """The caption with what was predicted for every masked token: [right], or [wrong/right]."""
    tokenizer = preprocessor.tokenizer
    answers = iter(predicted)
    words = []
    for token, hidden in zip(batch["input_ids"][row].tolist(), batch["token_mask"][row].tolist(), strict=True):
        if token in tokenizer.all_special_ids:
            continue
        word = tokenizer.decode([token])
        if hidden:
            guess = next(answers)
            word = f" [{word.strip()}]" if guess == token else f" [{tokenizer.decode([guess]).strip()}/{word.strip()}]"
        words.append(word)
    return "\n".join(textwrap.wrap("".join(words).strip(), 48))


def _grid(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes


def _folder(parent: Path) -> Path:
    folder = parent / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save(figure: "Figure", path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
