"""The soft router: a modality-aware mixture of experts in which no token is dropped (paper eq. 4-7)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig
from eve_core.model.experts import Experts
from eve_core.model.outputs import ExpertUse, Routing
from eve_core.model.sequence import TokenLayout


class SoftRouter(nn.Module):
    """Sends every token to its K best experts and adds their weighted outputs.

    The router sees the token plus an embedding of its modality (eq. 6). Padding is neither routed nor counted.
    `EveConfig` names the options in which paper and official code differ.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        if config.modality_routing:
            self.vision_embedding = nn.Parameter(torch.empty(config.hidden_size))
            self.text_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.experts = Experts(config)

    def forward(self, hidden: torch.Tensor, layout: TokenLayout) -> tuple[torch.Tensor, Routing]:
        """Route.

        Args:
            hidden: (B, N, D).
            layout: its tokens.

        Returns:
            (B, N, D), zero at padding, and how the tokens were spread.
        """
        flat = self.norm(hidden).reshape(-1, hidden.shape[-1])
        places = None if self.config.official_routing else layout.places
        tokens, text = (flat, layout.is_text) if places is None else (flat[places], layout.is_text[places])
        marked = tokens
        if self.config.modality_routing:
            marked = tokens + torch.where(text[:, None], self.text_embedding, self.vision_embedding).to(tokens.dtype)

        with torch.autocast(hidden.device.type, enabled=False):
            probabilities = F.linear(marked.float(), self.gate.weight.float()).softmax(-1)
            chosen = self._choose(probabilities)
            gates = self._weigh(probabilities.gather(1, chosen), chosen)
        routed = self._apply_experts(marked if self.config.experts_see_modality else tokens, gates, chosen)
        if places is not None:
            routed = torch.zeros_like(flat, dtype=routed.dtype).index_copy(0, places, routed)
        real = layout.real.reshape(-1) if places is None and layout.padded else None
        return routed.view(hidden.shape), _describe(probabilities, chosen, text, real)

    def _choose(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(T, E) -> (T, K) the experts of every token, the best first."""
        if not self.config.second_expert_noise or self.config.num_experts_per_token != 2:
            return probabilities.topk(self.config.num_experts_per_token, dim=-1).indices
        first = probabilities.argmax(-1, keepdim=True)
        gumbel = -torch.empty_like(probabilities).exponential_().log()
        second = (probabilities.log() + gumbel).scatter(1, first, float("-inf")).argmax(-1, keepdim=True)
        return torch.cat([first, second], dim=1)

    def _weigh(self, gates: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """(T, K) probabilities of the chosen experts -> (T, K) their weights."""
        if self.config.official_routing:
            gates = gates * self._within_capacity(chosen)
        if self.config.renormalize_gates and self.config.num_experts_per_token > 1:
            gates = gates / gates.sum(-1, keepdim=True).clamp(min=torch.finfo(gates.dtype).eps)
        return gates

    def _within_capacity(self, chosen: torch.Tensor) -> torch.Tensor:
        """(T, 2) -> (T, 2) bool: queues in the order of the batch, all first choices before all second ones."""
        number = self.config.num_experts
        capacity = max(4, math.ceil(2 * self.config.capacity_factor * len(chosen) / number))
        queue = F.one_hot(chosen.T.reshape(-1), number)
        place = (queue.cumsum(0) * queue).sum(1) - 1
        return (place < capacity).view(2, -1).T

    def _apply_experts(self, tokens: torch.Tensor, gates: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """(T, D), (T, K), (T, K) -> (T, D)."""
        num_tokens, num_choices = chosen.shape
        expert, order = chosen.reshape(-1).sort(stable=True)
        counts = torch.bincount(expert, minlength=self.config.num_experts)
        rows = self.experts(tokens[order // num_choices], counts)
        rows = rows * gates.reshape(-1)[order].unsqueeze(-1).to(rows.dtype)
        position = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return rows[position].view(num_tokens, num_choices, -1).sum(1)


def _describe(
    probabilities: torch.Tensor, chosen: torch.Tensor, text: torch.Tensor, real: torch.Tensor | None
) -> Routing:
    """What the load-balance loss is made of, and for people how the real tokens were spread."""
    num_experts = probabilities.shape[1]
    first_choices = torch.bincount(chosen[:, 0], minlength=num_experts).float()
    use = ExpertUse(first_choices=first_choices[None], probability_sums=probabilities.sum(0, keepdim=True))
    with torch.no_grad():
        if real is not None:
            probabilities, chosen, text = probabilities[real], chosen[real], text[real]
        # A token's modality moves its choices into its own half of the bins: one pass, no selection.
        load = torch.bincount((chosen + num_experts * text[:, None]).reshape(-1), minlength=2 * num_experts)
        vision_load, text_load = load.float().view(2, num_experts)
        entropy = torch.special.entr(probabilities).sum(-1).mean() / math.log(max(num_experts, 2))
    return Routing(
        use=use,
        vision_load=vision_load / vision_load.sum().clamp(min=1),
        text_load=text_load / text_load.sum().clamp(min=1),
        entropy=entropy,
        dead_experts=((vision_load + text_load) == 0).sum(),
    )
