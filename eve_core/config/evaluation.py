"""How a run is judged: what a task is scored on, and what its gate asks for."""

from pydantic import Field

from eve_core.config.section import Section


class EvaluationConfig(Section):
    """How the held-out rows of one task are scored."""

    batch_size: int = Field(default=64, gt=0)
    """Examples at a time."""
    rerank: int = Field(default=16, gt=0)
    """Retrieval: how many of a query's nearest are re-ranked by image-text matching."""


class MetricFloor(Section):
    """An absolute threshold."""

    metric: str
    """A metric of the task's evaluation, such as accuracy or image_recall_at_1."""
    at_least: float
    """The gate refuses below this."""


class GateConfig(Section):
    """What a candidate must reach before it may be registered."""

    floors: list[MetricFloor] = Field(min_length=1)
    """All of them must hold."""
    metric: str
    """The metric on which the candidate is compared with the champion."""
    min_gain: float = 0.0
    """Candidate minus champion must be at least this, both scored on the same items in the same step."""
    min_items: int = Field(default=200, gt=0)
    """Fewer scored items than this carry no verdict: the gate refuses."""
