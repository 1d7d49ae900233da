"""The pre-training objective: masked signal modelling (paper eq. 8-10), and the tasks that it is compared with."""

from typing import TYPE_CHECKING, Any

from eve_core.objectives.losses import Losses
from eve_core.objectives.share import WHOLE, Share

if TYPE_CHECKING:
    import torch
    from torch import nn

    from eve_core.model import EveConfig, Routing


def pretraining_loss(
    model: "nn.Module", batch: dict[str, "torch.Tensor"], share: Share = WHOLE, *, load_balance_weight: float
) -> Losses:
    """The sum of the tasks' losses + `load_balance_weight` x load balance.

    Args:
        model: EveForPreTraining, or what wraps it.
        batch: collated `MaskedPairs`.
        share: how much of a step's batch it is.
        load_balance_weight: alpha of eq. 7.

    Returns:
        The loss. Parts: those of mlm (cross-entropy over masked tokens), mim (mean squared error over masked patches),
        itc and itm that are tasks of the model; load_balance before its weight. Seen: for every soft-router block,
        counted from 0, router/<block>/entropy, router/<block>/dead_experts, and router/<block>/vision_load and
        router/<block>/text_load, (E,) each.
    """
    import torch
    from torch.nn import functional as F

    output = model(**batch)
    config: Any = getattr(model, "module", model).config
    losses = {}
    if output.token_logits is not None:
        losses["mlm"] = share.masked_tokens * F.cross_entropy(
            output.token_logits.float(), batch["input_ids"][batch["token_mask"]]
        )
    if output.patch_predictions is not None:
        losses["mim"] = share.examples * F.mse_loss(output.patch_predictions.float(), patch_targets(batch, config))
    aligned = {"itc": output.itc_loss, "itm": output.itm_loss}
    losses |= {name: share.examples * loss for name, loss in aligned.items() if loss is not None}
    parts = {name: loss.detach() for name, loss in losses.items()}
    balance = share.load_balance_loss(output.expert_use)
    parts["load_balance"] = balance.detach()
    total = torch.stack([*losses.values()]).sum() + load_balance_weight * balance
    return Losses(total, parts, _routing_seen(output.routing, config))


def patch_targets(batch: dict[str, "torch.Tensor"], config: "EveConfig") -> "torch.Tensor":
    """What masked image modelling predicts.

    Args:
        batch: with pixel_values (B, 3, S, S) and masked_patches (B, M).
        config: of the model; says whether the targets are normalised.

    Returns:
        (B, M, patch_dim) pixels of the masked patches.
    """
    from eve_core.model.decoder import patchify

    patches = patchify(batch["pixel_values"].float(), config.patch_size)
    targets = patches.gather(1, batch["masked_patches"].unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
    if config.normalize_pixel_targets:
        mean, deviation = patch_scale(targets)
        targets = (targets - mean) / deviation
    return targets


def patch_scale(patches: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """(..., patch_dim) -> mean and standard deviation of every patch, (..., 1) each."""
    import torch

    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    # A patch of one colour has no deviation to divide by.
    return mean, (variance + 1e-6).sqrt()


def _routing_seen(routing: tuple["Routing", ...], config: "EveConfig") -> dict[str, "torch.Tensor"]:
    blocks = [block for block, kind in enumerate(config.ffn_types) if kind == "soft"]
    return {
        f"router/{block}/{name}": getattr(spread, name)
        for block, spread in zip(blocks, routing, strict=True)
        for name in ("entropy", "dead_experts", "vision_load", "text_load")
    }
