"""Examples -> a batch: texts padded to the longest, the rest stacked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.data.transforms import normalize, stack

if TYPE_CHECKING:
    import torch


class Collator:
    """Stack examples; the token fields, whose lengths differ, are padded on the right to the longest of the batch.

    Args:
        pad_token_id: fills input_ids and masked_input_ids; attention_mask and token_mask are filled with 0.
        normalized: make the model's numbers of pixel_values, which examples hold as bytes. Training does so where the
            model is: bytes travel between processes and devices in a quarter of the time.
    """

    def __init__(self, pad_token_id: int, *, normalized: bool = True) -> None:
        self._normalized = normalized
        self._padding = {
            "input_ids": pad_token_id,
            "masked_input_ids": pad_token_id,
            "attention_mask": 0,
            "token_mask": 0,
        }

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, "torch.Tensor"]:
        """List of examples with equal keys -> one tensor a key, (B, ...)."""
        import torch

        batch = {}
        for key in examples[0]:
            values = [example[key] for example in examples]
            if key == "pixel_values":
                batch[key] = normalize(stack(values)) if self._normalized else stack(values)
            elif key in self._padding:
                batch[key] = torch.from_numpy(_pad(values, self._padding[key]))
            else:
                batch[key] = torch.from_numpy(np.stack(values))
        return batch


def _pad(values: Sequence[Sequence[int] | np.ndarray], padding: int) -> np.ndarray:
    lengths = [len(value) for value in values]
    padded = np.full((len(values), max(lengths)), padding, dtype=np.asarray(values[0]).dtype)
    for row, value, length in zip(padded, values, lengths, strict=True):
        row[:length] = value
    return padded
