"""A batch is as long as its longest text, and padding is marked as such."""

import numpy as np
import torch

from eve_core.data.collation import Collator


def test_token_fields_are_padded_on_the_right_and_the_rest_is_stacked():
    examples = [
        {
            "pixel_values": torch.full((3, 2, 2), float(length)),
            "input_ids": np.arange(1, length + 1),
            "attention_mask": [1] * length,
            "masked_input_ids": np.arange(1, length + 1),
            "token_mask": np.ones(length, dtype=bool),
            "labels": length,
        }
        for length in (2, 3)
    ]
    batch = Collator(pad_token_id=9)(examples)
    assert batch["pixel_values"].shape == (2, 3, 2, 2)
    assert batch["input_ids"].tolist() == batch["masked_input_ids"].tolist() == [[1, 2, 9], [1, 2, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["token_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["labels"].tolist() == [2, 3]
    assert batch["input_ids"].dtype == torch.int64
    assert batch["token_mask"].dtype == torch.bool
