"""The fine-tuning objective: the loss of the task's head and the load balance."""

from typing import TYPE_CHECKING

from eve_core.objectives.losses import Losses

if TYPE_CHECKING:
    import torch
    from torch import nn


def finetuning_loss(model: "nn.Module", batch: dict[str, "torch.Tensor"], *, load_balance_weight: float) -> Losses:
    """The task's own loss + `load_balance_weight` x load balance.

    Args:
        model: a downstream model, or what wraps it.
        batch: collated examples of its task, labels included.
        load_balance_weight: alpha of eq. 7.

    Returns:
        The loss. Parts: load_balance before its weight; itc and itm, of which retrieval's loss is the sum.
    """
    output = model(**batch)
    names = [name for name in ("itc", "itm", "load_balance") if getattr(output, f"{name}_loss", None) is not None]
    parts = {name: getattr(output, f"{name}_loss").detach() for name in names}
    return Losses(output.loss + load_balance_weight * output.load_balance_loss, parts)
