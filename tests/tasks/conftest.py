"""A preprocessor of the small world's texts, and sizes of a network that reads its pictures."""

from typing import Any

import pytest

from eve_core.config import Split, TokenizerConfig
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import split_rows, texts_of
from eve_core.data.tokenizer import train_tokenizer
from eve_core.model import EveConfig


@pytest.fixture(scope="session")
def preprocessor(prepared) -> Preprocessor:
    texts = [
        text
        for name in ("flickr8k", "vqa_v2", "nlvr2")
        for text in texts_of(split_rows(prepared, Split(set=name, splits=["train"])))
    ]
    return Preprocessor(train_tokenizer(texts, TokenizerConfig(vocab_size=320), 24), 32, 24)


@pytest.fixture
def small_config(preprocessor):
    def build(**fields: Any) -> EveConfig:
        return EveConfig(
            vocab_size=len(preprocessor.tokenizer),
            max_text_length=24,
            image_size=32,
            patch_size=8,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            num_soft_router_layers=1,
            num_experts=4,
            layer_scale_init=1.0,
            initializer_range=0.2,
            **fields,
        )

    return build
