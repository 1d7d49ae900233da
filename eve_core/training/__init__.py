"""Training: pre-training, fine-tuning, and the loop that both run on."""

from eve_core.training.finetuning import finetune
from eve_core.training.pretraining import pretrain

__all__ = ["finetune", "pretrain"]
