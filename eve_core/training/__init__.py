"""Training: pre-training, fine-tuning, and the loop that both run on."""

from eve_core.training.finetuning import finetune
from eve_core.training.job import TrainingJob, without_incidentals
from eve_core.training.launch import launch
from eve_core.training.pretraining import pretrain

__all__ = ["TrainingJob", "finetune", "launch", "pretrain", "without_incidentals"]
