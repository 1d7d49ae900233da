"""Official EVE checkpoints as models of this project: a checkpoint file and its config json in, a model of ours out.

Names in this room are the official ones unless they are called ours.
"""

from eve_core.model.official.checkpoint import read_checkpoint
from eve_core.model.official.conversion import Conversion, convert
from eve_core.model.official.preprocessing import preprocessor_for

__all__ = ["Conversion", "convert", "preprocessor_for", "read_checkpoint"]
