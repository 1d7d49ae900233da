"""How sure a model is of its answers, and how often it is right."""

from typing import TYPE_CHECKING

import numpy as np

from eve_core.evaluation.figures.canvas import subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 10


def draw_calibration(confidence: np.ndarray, score: np.ndarray) -> "Figure":
    """Mean score by confidence, beside what would be honest, and how many answers were given with which confidence.

    Args:
        confidence: (N,) probability of the answer that was given.
        score: (N,) what the answer was worth.
    """
    figure, axes = subplots(1, 2, width=8.5, height=3)
    place = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    filled = np.flatnonzero(counts)
    sure = np.bincount(place, weights=confidence, minlength=_BINS)[filled] / counts[filled]
    right = np.bincount(place, weights=score, minlength=_BINS)[filled] / counts[filled]
    off = float(np.average(np.abs(sure - right), weights=counts[filled]))
    axes[0][0].plot([0, 1], [0, 1], color="#59636e", linewidth=1, linestyle=":")
    axes[0][0].plot(sure, right, marker="o", color="#3b5bdb")
    axes[0][0].set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="mean score")
    axes[0][0].set_title(f"expected calibration error {off:.3f}", fontsize=10, loc="left")
    axes[0][1].bar((np.arange(_BINS) + 0.5) / _BINS, counts, 0.9 / _BINS, color="#3b5bdb")
    axes[0][1].set(xlim=(0, 1), xlabel="confidence", ylabel="answers")
    figure.tight_layout()
    return figure
