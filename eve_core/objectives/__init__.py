"""What is minimised: an objective takes a model and a batch and returns the loss and its parts."""

from eve_core.objectives.losses import LOAD_BALANCE_WEIGHT, Losses
from eve_core.objectives.masked_signal_modeling import MaskedPairs, masked_signal_modeling

__all__ = ["LOAD_BALANCE_WEIGHT", "Losses", "MaskedPairs", "masked_signal_modeling"]
