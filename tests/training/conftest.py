"""A pre-training run of a few steps on the small world."""

from pathlib import Path
from typing import Any

import pytest

from eve_core.config import ModelConfig, OptimizationConfig, PretrainingConfig, Split, TokenizerConfig
from eve_core.data.prepared import PreparedData
from eve_core.training import pretrain

MODEL = ModelConfig(
    size="tiny",
    overrides={
        "image_size": 32,
        "patch_size": 8,
        "max_text_length": 24,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_soft_router_layers": 1,
        "num_experts": 4,
        "decoder_num_layers": 1,
        "decoder_hidden_size": 16,
        # What is random in training must be resumed as well.
        "drop_path_rate": 0.2,
        "text_dropout": 0.1,
    },
)
TOKENIZER = TokenizerConfig(vocab_size=320, data=[Split(set="vqa_v2", splits=["train"])])


def optimization(**changes: Any) -> OptimizationConfig:
    settings = {"steps": 8, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_steps": 3}
    return OptimizationConfig.model_validate({**settings, **changes})


def run_pretraining(
    prepared: PreparedData,
    folder: Path,
    *,
    seed: int = 5,
    log: Any = None,
    keep: Any = None,
    objective: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Pre-train into folder/out, with checkpoints in folder/scratch.

    `objective` holds fields of PretrainingConfig, `changes` those of its optimization.
    """
    data = [Split(set="flickr8k", splits=["train"])]
    config = PretrainingConfig(data=data, optimization=optimization(**changes), **(objective or {}))
    out = folder / "out"
    out.mkdir(exist_ok=True)
    pretrain(prepared, config, MODEL, TOKENIZER, out, seed=seed, scratch=folder / "scratch", log=log, keep=keep)
    return out


@pytest.fixture(scope="session")
def pretrained(prepared, tmp_path_factory) -> Path:
    """The model of an uninterrupted run."""
    return run_pretraining(prepared, tmp_path_factory.mktemp("pretrained"))
