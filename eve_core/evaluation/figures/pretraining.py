"""Pre-training: loss curves, predictions for held-out pairs, and how their tokens were routed."""

from pathlib import Path
from typing import TYPE_CHECKING

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
    from eve_core.objectives import MaskedPairs

    model = EveForPreTraining.from_pretrained(checkpoint).eval()
    preprocessor = Preprocessor.load(checkpoint)
    pairs = MaskedPairs(
        _unseen_captions(data, config),
        data.images,
        preprocessor,
        model.config,
        config.image_mask_ratio,
        config.text_mask_ratio,
    )
    schedule = ShuffledEpochs(pairs, _ROUTED, SEED)
    examples = [schedule[position] for position in range(min(_ROUTED, len(pairs)))]
    collate = Collator(preprocessor.tokenizer.pad_token_id)
    folder = figure_folder(checkpoint)
    save(draw_predictions(model, preprocessor.tokenizer, collate(examples[:_SHOWN])), folder / "predictions.png")
    save(draw_routing(model, collate(examples)), folder / "routing.png")
    return training_figure(checkpoint)


def _unseen_captions(data: PreparedData, config: PretrainingConfig) -> "pa.Table":
    """Captions of the first pre-training set's other splits; its training captions when there is no other."""
    first = config.data[0]
    splits = sorted(
        {shard.split for shard in data.manifest.shards if shard.set == first.set and shard.split} - set(first.splits)
    )
    return data.table("captions", set=first.set, splits=splits or first.splits)
