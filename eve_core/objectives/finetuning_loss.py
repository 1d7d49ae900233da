"""The fine-tuning objective: the loss of the task's head and the load balance."""

from typing import TYPE_CHECKING

from eve_core.objectives.losses import Losses
from eve_core.objectives.share import WHOLE, Share

if TYPE_CHECKING:
    import torch
    from torch import nn


def finetuning_loss(
    model: "nn.Module", batch: dict[str, "torch.Tensor"], share: Share = WHOLE, *, load_balance_weight: float
) -> Losses:
    """The task's own loss + `load_balance_weight` x load balance.

    Args:
        model: a downstream model, or what wraps it.
        batch: collated examples of its task, labels included.
        share: how much of a step's batch it is.
        load_balance_weight: alpha of eq. 7.

    Returns:
        The loss. Parts: load_balance before its weight; itc and itm, of which retrieval's loss is the sum.
    """
    output = model(**batch)
    aligned = {name: getattr(output, f"{name}_loss", None) for name in ("itc", "itm")}
    parts = {name: share.examples * loss.detach() for name, loss in aligned.items() if loss is not None}
    balance = share.load_balance_loss(output.expert_use)
    parts["load_balance"] = balance.detach()
    return Losses(share.examples * output.loss + load_balance_weight * balance, parts)
