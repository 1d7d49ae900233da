"""NLVR2's metrics, by the definitions of its official evaluation."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def nlvr2_metrics(statement_ids: Sequence[str], right: "Sequence[float] | np.ndarray") -> dict[str, float]:
    """Accuracy, and consistency: the share of sentences judged right on every pair of pictures that they come with.

    Args:
        statement_ids: NLVR2's identifiers.
        right: 1 where the prediction is right, 0 where it is wrong, NaN where there is none to speak of.
    """
    values = np.asarray(right, dtype=float)
    by_sentence: dict[tuple[str, str], list[float]] = defaultdict(list)
    for statement_id, value in zip(statement_ids, values, strict=True):
        by_sentence[sentence_of(statement_id)].append(value)
    # The least of 0 and 1 is 1 where all are; NaN stays NaN.
    return {
        "accuracy": float(values.mean()),
        "consistency": float(np.mean([np.min(answers) for answers in by_sentence.values()])),
    }


def sentence_of(statement_id: str) -> tuple[str, str]:
    """dev-850-3-1 -> (dev-850, 1): sentence 1 of set 850, whose pair 3 this is. Two sets may use the same words."""
    parts = statement_id.rsplit("-", 2)
    return parts[0], parts[-1]
