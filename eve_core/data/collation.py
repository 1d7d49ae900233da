"""Examples -> a batch: texts padded to the longest, the rest stacked."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Collator:
    """Stack examples; the token fields, whose lengths differ, are padded on the right to the longest of the batch.

    Args:
        pad_token_id: fills input_ids and masked_input_ids; attention_mask and token_mask are filled with 0.
    """

    def __init__(self, pad_token_id: int) -> None:
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
            values = [torch.as_tensor(example[key]) for example in examples]
            if key in self._padding:
                batch[key] = torch.nn.utils.rnn.pad_sequence(values, True, float(self._padding[key]))
            else:
                batch[key] = torch.stack(values)
        return batch
