"""What is minimised: an objective takes a model and a batch and returns the loss and its parts."""

from eve_core.objectives.finetuning_loss import finetuning_loss
from eve_core.objectives.losses import Losses
from eve_core.objectives.masked_pairs import MaskedPairs
from eve_core.objectives.pretraining_loss import pretraining_loss
from eve_core.objectives.share import Share

__all__ = ["Losses", "MaskedPairs", "Share", "finetuning_loss", "pretraining_loss"]
