"""A batch is as long as its longest text, padding is marked as such, and pixels are bytes or normalised."""

import numpy as np
import pytest
import torch

from eve_core.data.collation import Collator


def test_token_fields_are_padded_on_the_right_and_the_rest_is_stacked():
    examples = [
        {
            "pixel_values": torch.full((3, 2, 2), 80 * length, dtype=torch.uint8),
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
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == pytest.approx([160 / 127.5 - 1, 240 / 127.5 - 1])
    assert batch["input_ids"].tolist() == batch["masked_input_ids"].tolist() == [[1, 2, 9], [1, 2, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["token_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["labels"].tolist() == [2, 3]
    assert batch["input_ids"].dtype == torch.int64
    assert batch["token_mask"].dtype == torch.bool


def test_pixels_may_stay_bytes():
    pictures = torch.arange(2 * 2 * 12, dtype=torch.uint8).reshape(2, 2, 3, 2, 2)  # two pairs, as for NLVR2
    batch = Collator(0, normalized=False)([{"pixel_values": pair} for pair in pictures])
    assert batch["pixel_values"].dtype == torch.uint8
    assert torch.equal(batch["pixel_values"], pictures)
