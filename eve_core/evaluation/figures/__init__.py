"""Pictures for people: what pre-training predicts and routes, how the losses fell, what a task got right and wrong.

Every function writes PNG files into a folder `figures` and returns that folder.
"""

from eve_core.evaluation.figures.answers import task_figures
from eve_core.evaluation.figures.curves import training_figure
from eve_core.evaluation.figures.pretraining import pretraining_figures

__all__ = ["pretraining_figures", "task_figures", "training_figure"]
