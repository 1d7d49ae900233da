"""A network small enough to run by the dozen."""

from collections.abc import Callable

import pytest
import torch

from eve_core.model import EveConfig

SMALL = {
    "vocab_size": 60,
    "max_text_length": 12,
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_soft_router_layers": 2,
    "num_experts": 4,
    "decoder_num_layers": 1,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    # Large enough that a mistake shows in the outputs.
    "layer_scale_init": 1.0,
    "initializer_range": 0.2,
}


@pytest.fixture
def config() -> EveConfig:
    torch.manual_seed(0)
    return EveConfig(**SMALL)


@pytest.fixture
def pairs() -> Callable[[int], dict[str, torch.Tensor]]:
    """Draws pictures with texts of different lengths, the longest of 8 tokens."""

    def draw(number: int = 3) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        lengths = torch.tensor([8, 5, 3, 8])[:number]
        mask = (torch.arange(8) < lengths[:, None]).long()
        input_ids = torch.randint(1, 60, (number, 8), generator=generator) * mask
        return {
            "pixel_values": torch.randn(number, 3, 32, 32, generator=generator),
            "input_ids": input_ids,
            "attention_mask": mask,
        }

    return draw
