"""What part of a step's batch a micro-batch of one process is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from eve_core.model.outputs import ExpertUse


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
    first_choices: "torch.Tensor | None" = None
    """The experts' first choices in the step's whole batch, (R, E); None where every micro-batch balances its own."""

    def load_balance_loss(self, use: "ExpertUse") -> "torch.Tensor":
        """Eq. 7 over the whole batch, or over this micro-batch of all processes, as this one's contribution."""
        from eve_core.model.global_batch import add_up, num_processes

        if self.first_choices is not None:
            return num_processes() * use.load_balance_loss(self.first_choices)
        assert use.first_choices is not None
        counts = add_up(use.first_choices.clone())
        return self.examples * num_processes() * use.load_balance_loss(counts)


WHOLE = Share()
"""The batch is neither accumulated nor spread."""
