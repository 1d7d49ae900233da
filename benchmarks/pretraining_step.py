"""A pre-training batch of drawn pairs and the step on it, for any set of tasks."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.measure import precision
from eve_core.data.masking import mask_patches, mask_tokens
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.objectives import pretraining_loss

MAX_TEXT_LENGTH = 40
_IMAGE_MASK_RATIO, _TEXT_MASK_RATIO, _LOAD_BALANCE_WEIGHT = 0.75, 0.5, 0.001
_CLS, _SEP, _MASK, _FIRST_WORD = 2, 3, 4, 5

Batch = dict[str, torch.Tensor]


def build(config: EveConfig, device: torch.device) -> EveForPreTraining:
    """A fresh network in training mode."""
    torch.manual_seed(0)
    return EveForPreTraining(config).to(device).train()


def draw_batch(config: EveConfig, lengths: Sequence[int], device: torch.device) -> Batch:
    """Random pictures, each with a random text of its own length, padded to MAX_TEXT_LENGTH.

    Args:
        config: sizes.
        lengths: tokens of each text, [CLS] and [SEP] included.
        device: where the tensors go.

    Returns:
        The arguments of `EveForPreTraining`, masked at the paper's ratios.
    """
    generator = np.random.default_rng(0)
    place, length = np.arange(MAX_TEXT_LENGTH), np.array(lengths)[:, None]
    words = generator.integers(_FIRST_WORD, config.vocab_size, (len(lengths), MAX_TEXT_LENGTH))
    ids = np.where(place < length, words, config.pad_token_id)
    ids[:, 0] = _CLS
    ids[np.arange(len(lengths)), np.array(lengths) - 1] = _SEP
    token_mask = np.stack([mask_tokens(row >= _FIRST_WORD, _TEXT_MASK_RATIO, generator) for row in ids])
    patches = [mask_patches(config.num_patches, _IMAGE_MASK_RATIO, generator) for _ in lengths]
    side = config.image_size
    fields = {
        "pixel_values": generator.standard_normal((len(lengths), config.num_channels, side, side), dtype=np.float32),
        "input_ids": ids,
        "attention_mask": (place < length).astype(np.int64),
        "visible_patches": np.stack([visible for visible, _ in patches]),
        "masked_patches": np.stack([masked for _, masked in patches]),
        "masked_input_ids": np.where(token_mask, _MASK, ids),
        "token_mask": token_mask,
        "image_ids": np.arange(len(lengths)),
    }
    return {name: torch.from_numpy(values).to(device) for name, values in fields.items()}


def trim(batch: Batch) -> Batch:
    """The same batch with its texts cut to the longest of them."""
    longest = int(batch["attention_mask"].sum(1).max())
    texts = ("input_ids", "attention_mask", "masked_input_ids", "token_mask")
    return {name: values[:, :longest].contiguous() if name in texts else values for name, values in batch.items()}


def step(
    model: EveForPreTraining,
    batch: Batch,
    dtype: str,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    keep_gradients: bool = False,
) -> None:
    """Forward, backward, and the update when there is an optimizer.

    Args:
        model: the network.
        batch: from `draw_batch`.
        dtype: float32, or bfloat16 for autocast.
        optimizer: of the model's parameters.
        keep_gradients: leave the gradients' memory allocated, as accumulation over batches does.
    """
    with precision(dtype, batch["pixel_values"].device):
        loss = pretraining_loss(model, batch, load_balance_weight=_LOAD_BALANCE_WEIGHT).total
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    model.zero_grad(set_to_none=not keep_gradients)
