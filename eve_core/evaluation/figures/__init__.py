"""Pictures for people: what pre-training predicts and routes, how the losses fell, what a task got right and wrong.

Every function but predictions_figure, for a model in training, writes PNG files into a folder `figures` and returns it.
"""

from eve_core.evaluation.figures.answers import task_figures
from eve_core.evaluation.figures.curves import training_figure
from eve_core.evaluation.figures.pretraining import predictions_figure, pretraining_figures

__all__ = ["predictions_figure", "pretraining_figures", "task_figures", "training_figure"]
