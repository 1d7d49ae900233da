"""How a run is judged: what a task is scored on, in which slices, and what its gate asks for."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from eve_core.config.section import Section


class SliceConfig(Section):
    """A way to divide the scored items, each part with scores of its own."""

    by: str
    """What they are divided by: question_type and answer_type (VQA), direction (retrieval), label (NLVR2), words (of
    the text), image_side (the shorter one, in pixels), source (the pictures' folder), or a column of `table`."""
    bins: list[float] = []
    """Of a number: where a new part begins, rising."""
    values: list[str] = []
    """Of a text: the parts there have to be; every value that has `min_items` when none are named."""
    table: Path | None = None
    """A CSV or Parquet file with the column `by` for every image_id or item_id, such as the number of objects."""
    min_items: int = Field(default=30, gt=0)
    """Parts with fewer items are refused where `bins` or `values` ask for them, and left out otherwise."""
    at_least: float | None = None
    """The gate refuses a candidate whose main metric is below this in any part."""

    @model_validator(mode="after")
    def _divided_one_way(self) -> Self:
        if self.bins and self.values:
            raise ValueError(f"slice {self.by} has bins, which numbers have, and values, which texts have; keep one")
        if self.bins != sorted(set(self.bins)):
            raise ValueError(f"slice {self.by} has bins {self.bins}, which do not rise; sort them")
        return self


class EvaluationConfig(Section):
    """How the held-out rows of one task are scored."""

    batch_size: int = Field(default=64, gt=0)
    """Examples at a time."""
    rerank: int = Field(default=16, gt=0)
    """Retrieval: how many of a query's nearest are re-ranked by image-text matching."""
    gallery: int | None = Field(default=None, gt=0)
    """Retrieval: pictures that are searched at once, such as 1000 for COCO's 1k test; the test is divided into as many
    galleries as that gives, and their recalls are averaged. All pictures when not given."""
    slices: list[SliceConfig] = []
    """What is scored on its own as well."""
    requests: int = Field(default=50, ge=2)
    """Requests, one after the other, that the model's time and memory are measured with as it will be served; their
    answers are kept, and a registered version must give the same."""


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
    min_gain: float = Field(default=0.0, gt=-1, lt=1)
    """The main metric must exceed the champion's by more than this, beyond chance. Below 0 it is a margin: the
    candidate may be that much worse, but no more (non-inferiority)."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """How likely, at most, a run may bless a candidate whose true gain is no more than `min_gain`; shared by the tasks
    of the run."""
    detectable_gain: float | None = Field(default=None, gt=0)
    """The gate refuses to judge when there are too few items to find a true gain of this much beyond `min_gain`."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """How often such a gain has to be found."""
    max_slice_drop: float = Field(default=0.05, ge=0, lt=1)
    """The gate refuses a candidate that is worse than the champion by more than this, beyond chance, in any slice."""
    rounds: int = Field(default=10_000, ge=1000)
    """Of the bootstrap."""
    min_items: int = Field(default=200, gt=0)
    """Fewer scored items than this carry no verdict: the gate refuses."""
    max_latency: float | None = Field(default=None, gt=0)
    """Milliseconds that 95 of 100 requests may take, on the processor of the machine that evaluates."""
    max_memory: float | None = Field(default=None, gt=0)
    """Megabytes that the model may take as it is served."""
    max_size: float | None = Field(default=None, gt=0)
    """Megabytes of its files."""
    max_dead_experts: float | None = Field(default=None, ge=0, le=1)
    """Share of a soft router's experts, in its worst block, that no scored token may choose."""
