"""What a pre-trained model predicts for masked patches and masked words."""

import textwrap
from typing import TYPE_CHECKING, Any

from eve_core.evaluation.figures.canvas import pictures

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerFast

    from eve_core.model import EveForPreTraining

# The grey of a masked patch, between -1 and 1.
_MASKED = 0.2


def draw_predictions(
    model: "EveForPreTraining", tokenizer: "PreTrainedTokenizerFast", batch: dict[str, "torch.Tensor"]
) -> "Figure | None":
    """A pair a row: with mim the masked picture, its reconstruction and the original; with mlm the caption's words.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        batch: collated `MaskedPairs`.

    Returns:
        The figure; None when the model predicts neither patches nor words.
    """
    import torch

    from eve_core.data.transforms import to_pixels
    from eve_core.model.decoder import patchify, unpatchify

    if not {"mim", "mlm"} & {*model.config.pretraining_tasks}:
        return None
    with torch.inference_mode():
        output = model(**batch)
    size = model.config.patch_size
    originals = patchify(batch["pixel_values"], size)
    shown = {"original": originals}
    if output.patch_predictions is not None:
        where = batch["masked_patches"].unsqueeze(-1).expand(-1, -1, originals.shape[-1])
        predicted = _as_pixels(output.patch_predictions.float(), originals.gather(1, where), model)
        masked = originals.scatter(1, where, torch.full_like(predicted, _MASKED))
        shown = {"masked": masked, "reconstructed": originals.scatter(1, where, predicted), **shown}

    figure, axes = pictures(rows=len(originals), columns=len(shown), width=1.3 * len(shown) / 0.44, height=1.7)
    for axis, title in zip(axes[0], shown, strict=True):
        axis.set_title(title, fontsize=9)
    for column, patches in enumerate(shown.values()):
        for row, picture in enumerate(to_pixels(unpatchify(patches, size))):
            axes[row][column].imshow(picture.permute(1, 2, 0).numpy())
    if output.token_logits is not None:
        words = output.token_logits.argmax(-1).split(batch["token_mask"].sum(1).tolist())
        for row, guesses in enumerate(words):
            text = _caption(tokenizer, batch["input_ids"][row], batch["token_mask"][row], guesses)
            axis = axes[row][-1]
            axis.text(1.1, 0.5, text, transform=axis.transAxes, va="center", fontsize=8, family="monospace")
    figure.subplots_adjust(left=0.01, right=0.45, wspace=0.05, hspace=0.1)
    return figure


def _as_pixels(predicted: "torch.Tensor", originals: "torch.Tensor", model: "EveForPreTraining") -> "torch.Tensor":
    """Predictions of normalised targets with the originals' mean and scale: (B, M, patch_dim) twice -> the same."""
    from eve_core.objectives.pretraining_loss import patch_scale

    if not model.config.normalize_pixel_targets:
        return predicted
    mean, deviation = patch_scale(originals)
    return predicted * deviation + mean


def _caption(tokenizer: Any, input_ids: "torch.Tensor", token_mask: "torch.Tensor", guesses: "torch.Tensor") -> str:
    """The caption with what was predicted for every masked token: [right], or [wrong/right]."""
    guessed = iter(guesses.tolist())
    words = []
    for token, hidden in zip(input_ids.tolist(), token_mask.tolist(), strict=True):
        if token in tokenizer.all_special_ids:
            continue
        word = tokenizer.decode([token])
        if hidden:
            guess = next(guessed)
            word = f" [{word.strip()}]" if guess == token else f" [{tokenizer.decode([guess]).strip()}/{word.strip()}]"
        words.append(word)
    return "\n".join(textwrap.wrap("".join(words).strip(), 48))
