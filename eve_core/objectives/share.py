"""What part of a step's batch a micro-batch of one process is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Share:
    """Weights of a micro-batch's mean losses.

    Means times their share, summed over the micro-batches of a step and averaged over the processes, are the means of
    the whole batch, however it was spread.
    """

    examples: float = 1.0
    """Of losses that are means over examples, or over a fixed number of places an example."""
    masked_tokens: "float | torch.Tensor" = 1.0
    """Of losses that are means over masked tokens, of which micro-batches hold different numbers."""


WHOLE = Share()
"""The batch is neither accumulated nor spread."""
