"""Captions of the small world, and a network small enough to train every task set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from eve_core.config import Split, TokenizerConfig
from eve_core.data.collation import Collator
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import split_rows, texts_of
from eve_core.data.tokenizer import train_tokenizer
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.objectives import MaskedPairs
from tests.model.conftest import SMALL


@pytest.fixture(scope="session")
def captions(prepared: PreparedData) -> pa.Table:
    return split_rows(prepared, Split(set="flickr8k", splits=["train"]))


@pytest.fixture(scope="session")
def preprocessor(captions: pa.Table) -> Preprocessor:
    return Preprocessor(train_tokenizer(texts_of(captions), TokenizerConfig(vocab_size=300), 24), 32, 24)


@pytest.fixture
def network(preprocessor: Preprocessor) -> Callable[..., EveForPreTraining]:
    """Draws a network with the given fields of EveConfig, in evaluation mode."""

    def draw(**fields: Any) -> EveForPreTraining:
        torch.manual_seed(0)
        read = {"vocab_size": len(preprocessor.tokenizer), "max_text_length": 24}
        sizes: dict[str, Any] = {**SMALL, **read, "num_hidden_layers": 2, "num_soft_router_layers": 1}
        return EveForPreTraining(EveConfig(**{**sizes, **fields})).eval()

    return draw


@pytest.fixture
def pairs_of(captions: pa.Table, prepared: PreparedData, preprocessor: Preprocessor) -> Callable[..., MaskedPairs]:
    """Builds the pairs that a network reads."""

    def build(model: EveForPreTraining, *, rows: pa.Table = captions, text_mask_ratio: float = 0.5) -> MaskedPairs:
        return MaskedPairs(rows, prepared.images, preprocessor, model.config, 0.75, text_mask_ratio)

    return build


@pytest.fixture
def batch_of(
    pairs_of: Callable[..., MaskedPairs], preprocessor: Preprocessor
) -> Callable[..., dict[str, torch.Tensor]]:
    """Collates pairs `first`, `first` + `step` and so on for a network; captions of one picture follow each other."""

    def collate(model: EveForPreTraining, first: int = 0, step: int = 6) -> dict[str, torch.Tensor]:
        pairs = pairs_of(model)
        indices = range(first, len(pairs), step)
        return Collator(preprocessor.tokenizer.pad_token_id)(
            [pairs.example(index, np.random.default_rng(index)) for index in indices]
        )

    return collate
