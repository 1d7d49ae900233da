"""How a run trains: the model's size, the tokenizer, pre-training and the fine-tuning of a task."""

from typing import Any, Literal

from pydantic import Field

from eve_core.config.data import Split
from eve_core.config.section import Section

TaskName = Literal["vqa", "nlvr2", "retrieval"]


class ModelConfig(Section):
    """Which EVE is trained."""

    size: Literal["tiny", "base", "large"] = "tiny"
    """A named size of `EveConfig.named`."""
    overrides: dict[str, Any] = {}
    """Fields of EveConfig that differ from the named size."""


class TokenizerConfig(Section):
    """The byte-level BPE tokenizer, trained in the pre-training step."""

    data: list[Split] = []
    """What it learns from besides the pre-training captions: captions, questions and statements of training splits."""
    vocab_size: int = Field(default=2000, ge=300)
    """Entries at most; the paper's recipe has 64,000."""
    min_frequency: int = Field(default=2, ge=1)
    """Pairs that occur less often are not merged."""


class OptimizationConfig(Section):
    """AdamW, its schedule and its precision."""

    steps: int = Field(gt=0)
    """Optimizer steps."""
    batch_size: int = Field(gt=0)
    """Examples a step, over all processes and accumulation steps."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0."""
    schedule: Literal["linear", "cosine"] = "cosine"
    """How the rate falls to 0 afterwards."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Applied to matrices only: not to norms, biases, embeddings of position, type and class, nor LayerScale."""
    beta2: float = Field(default=0.98, gt=0, lt=1)
    """Second AdamW moment; the first is 0.9."""
    max_grad_norm: float = Field(default=3.0, gt=0)
    """Gradients are clipped to this norm."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 runs matrix products in bfloat16 under autocast; weights stay float32."""
    checkpoint_steps: int = Field(default=200, gt=0)
    """A checkpoint to resume from is written every so many steps; the newest two are kept."""
    workers: int = Field(default=0, ge=0)
    """Data loading processes."""


class PretrainingConfig(Section):
    """Masked signal modelling (paper eq. 8-10)."""

    data: list[Split]
    """Picture-caption pairs."""
    optimization: OptimizationConfig
    """Optimizer, schedule and precision."""
    image_mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that is dropped and predicted."""
    text_mask_ratio: float = Field(default=0.5, gt=0, lt=1)
    """Share of the text tokens that is masked and predicted."""


class FinetuningConfig(Section):
    """Fine-tuning of one task from the pre-trained checkpoint."""

    optimization: OptimizationConfig
    """Optimizer, schedule and precision."""
    head_learning_rate_multiplier: float = Field(default=5.0, gt=0)
    """The head, which pre-training has not seen, learns this much faster."""
    min_answer_count: int = Field(default=9, ge=1)
    """VQA: an answer enters the vocabulary when it is given this often in the training split."""
