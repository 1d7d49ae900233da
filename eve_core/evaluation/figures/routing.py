"""Which experts the tokens of each modality go to (the paper's Fig. 6)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eve_core.evaluation.figures.canvas import subplots

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from eve_core.model import EveForPreTraining

_COLORS = {"vision": "#3b5bdb", "text": "#e8590c"}


def draw_routing(model: "EveForPreTraining", batch: dict[str, "torch.Tensor"]) -> "Figure | None":
    """For every soft-router block the experts' loads, of whole pictures with their whole captions.

    Args:
        model: in evaluation mode.
        batch: with pixel_values, input_ids and attention_mask; the loads are shares of its tokens.

    Returns:
        The figure; None when the model has no soft router.
    """
    import torch

    blocks = [block for block, kind in enumerate(model.config.ffn_types) if kind == "soft"]
    if not blocks:
        return None
    with torch.inference_mode():
        routing = model.backbone(batch["pixel_values"], batch["input_ids"], batch["attention_mask"]).routing
    found = {
        f"block {block}": {modality: getattr(spread, f"{modality}_load").tolist() for modality in _COLORS}
        for block, spread in zip(blocks, routing, strict=True)
    }
    notes = [f"entropy {float(spread.entropy):.2f}, dead experts {int(spread.dead_experts)}" for spread in routing]
    return draw_loads(found, notes)


def draw_loads(loads: Mapping[str, Mapping[str, Sequence[float]]], notes: Sequence[str] | None = None) -> "Figure":
    """Bars of every block's experts.

    Args:
        loads: by block and modality (vision, text), the share of the choices that each expert got.
        notes: what else is to be said of each block.
    """
    number = max(len(load) for both in loads.values() for load in both.values())
    figure, axes = subplots(len(loads), 1, width=max(6.0, 0.3 * number), height=2.4)
    for place, (axis, (block, both)) in enumerate(zip(axes[:, 0], loads.items(), strict=True)):
        for side, (modality, color) in zip((-0.2, 0.2), _COLORS.items(), strict=True):
            if modality in both:
                load = [100 * share for share in both[modality]]
                axis.bar([expert + side for expert in range(number)], load, 0.4, label=modality, color=color)
        axis.axhline(100 / number, color="#59636e", linewidth=1, linestyle=":")
        axis.set_title(f"{block}: {notes[place]}" if notes else block, fontsize=10, loc="left")
        axis.set_xticks(range(number))
        axis.set_xlim(-0.6, number - 0.4)
        axis.set_ylabel("% of choices", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0][0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    axes[-1][0].set_xlabel("expert", fontsize=8)
    figure.tight_layout()
    return figure
