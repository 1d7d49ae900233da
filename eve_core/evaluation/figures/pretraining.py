"""Pre-training: loss curves, predictions for held-out pairs, and how their tokens were routed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config import PretrainingConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.schedule import ShuffledEpochs
from eve_core.evaluation.figures.canvas import SEED, figure_folder, save
from eve_core.evaluation.figures.curves import training_figure
from eve_core.evaluation.figures.predictions import draw_predictions
from eve_core.evaluation.figures.routing import draw_routing

if TYPE_CHECKING:
    import pyarrow as pa

    from eve_core.model import EveForPreTraining

_SHOWN = 6
_ROUTED = 64


def pretraining_figures(data: PreparedData, config: PretrainingConfig, checkpoint: Path) -> Path:
    """training.png; predictions.png, where a task predicts what is masked; routing.png, where there is a soft router.

    Args:
        data: the data that was trained on; its held-out captions are shown where there are any.
        config: pairs and mask ratios.
        checkpoint: folder that pre-training wrote; the figures go into it.
    """
    from eve_core.data.collation import Collator
    from eve_core.model import EveForPreTraining

    model = EveForPreTraining.from_pretrained(checkpoint).eval()
    preprocessor = Preprocessor.load(checkpoint)
    examples = _held_out(data, config, preprocessor, model, _ROUTED)
    collate = Collator(preprocessor.tokenizer.pad_token_id)
    folder = figure_folder(checkpoint)
    save(draw_predictions(model, preprocessor.tokenizer, collate(examples[:_SHOWN])), folder / "predictions.png")
    save(draw_routing(model, collate(examples)), folder / "routing.png")
    return training_figure(checkpoint)


def predictions_figure(
    data: PreparedData, config: PretrainingConfig, preprocessor: Preprocessor, model: "EveForPreTraining", path: Path
) -> None:
    """What the model predicts as it is now: masked pictures, reconstructions, originals, and words; nothing without
    such a task.

    Args:
        data: see `pretraining_figures`.
        config: pairs and mask ratios.
        preprocessor: of the model.
        model: in training; it is left as it was.
        path: the .png.
    """
    import torch

    from eve_core.data.collation import Collator

    examples = _held_out(data, config, preprocessor, model, _SHOWN)
    batch = Collator(preprocessor.tokenizer.pad_token_id)(examples)
    training = model.training
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        model.eval()
        path.parent.mkdir(parents=True, exist_ok=True)
        here = {name: values.to(model.device) for name, values in batch.items()}
        save(draw_predictions(model, preprocessor.tokenizer, here), path)
        model.train(training)


def _held_out(
    data: PreparedData, config: PretrainingConfig, preprocessor: Preprocessor, model: "EveForPreTraining", number: int
) -> list[dict[str, Any]]:
    from eve_core.objectives import MaskedPairs

    captions = _unseen_captions(data, config)
    ratios = (config.image_mask_ratio, config.text_mask_ratio)
    pairs = MaskedPairs(captions, data.images, preprocessor, model.config, *ratios)
    schedule = ShuffledEpochs(pairs, number, SEED)
    return [schedule[position] for position in range(min(number, len(pairs)))]


def _unseen_captions(data: PreparedData, config: PretrainingConfig) -> "pa.Table":
    """Captions of the first pre-training set's other splits; its training captions when there is no other."""
    first = config.data[0]
    splits = sorted(
        {shard.split for shard in data.manifest.shards if shard.set == first.set and shard.split} - set(first.splits)
    )
    return data.table("captions", set=first.set, splits=splits or first.splits)
