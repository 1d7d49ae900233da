"""The soft router: a modality-aware mixture of experts in which no token is dropped (paper eq. 4-7)."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig
from eve_core.model.experts import Experts
from eve_core.model.outputs import Routing


class SoftRouter(nn.Module):
    """Sends every token to its K best experts and adds their weighted outputs.

    The router sees the token plus an embedding of its modality (eq. 6). Padding is neither routed nor counted.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.vision_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.text_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.experts = Experts(config.num_experts, config.hidden_size, config.intermediate_size)

    def forward(
        self, hidden: torch.Tensor, is_text: torch.Tensor, token_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, Routing]:
        """Route.

        Args:
            hidden: (B, N, D).
            is_text: (B, N) bool, the modality of each token.
            token_mask: (B, N) bool, False for padding; None when nothing is padded.

        Returns:
            (B, N, D), zero at padding, and how the tokens were spread.
        """
        flat = self.norm(hidden).reshape(-1, hidden.shape[-1])
        text = is_text.reshape(-1)
        kept = None if token_mask is None else token_mask.reshape(-1).nonzero().squeeze(-1)
        tokens, text = (flat, text) if kept is None else (flat[kept], text[kept])
        marked = tokens + torch.where(text[:, None], self.text_embedding, self.vision_embedding).to(tokens.dtype)

        with torch.autocast(hidden.device.type, enabled=False):
            probabilities = F.linear(marked.float(), self.gate.weight.float()).softmax(-1)
            gates, chosen = probabilities.topk(self.config.num_experts_per_token, dim=-1)
            if self.config.renormalize_gates:
                gates = gates / gates.sum(-1, keepdim=True)
        routed = self._apply_experts(marked if self.config.experts_see_modality else tokens, gates, chosen)
        if kept is not None:
            routed = torch.zeros_like(flat, dtype=routed.dtype).index_copy(0, kept, routed)
        return routed.view(hidden.shape), _describe(probabilities, chosen, text)

    def _apply_experts(self, tokens: torch.Tensor, gates: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """(T, D), (T, K), (T, K) -> (T, D)."""
        num_tokens, num_choices = chosen.shape
        expert, order = chosen.reshape(-1).sort(stable=True)
        rows = self.experts(tokens[order // num_choices], expert)
        rows = rows * gates.reshape(-1)[order].unsqueeze(-1).to(rows.dtype)
        position = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return rows[position].view(num_tokens, num_choices, -1).sum(1)


def _describe(probabilities: torch.Tensor, chosen: torch.Tensor, text: torch.Tensor) -> Routing:
    """Load-balance loss (eq. 7: E sum_i f_i p_i over first choices) and the load of each expert by modality."""
    num_experts = probabilities.shape[1]
    first = F.one_hot(chosen[:, 0], num_experts).float().mean(0)
    loss = num_experts * (first * probabilities.mean(0)).sum()
    with torch.no_grad():
        vision = torch.bincount(chosen[~text].reshape(-1), minlength=num_experts).float()
        words = torch.bincount(chosen[text].reshape(-1), minlength=num_experts).float()
    return Routing(
        load_balance_loss=loss,
        vision_load=vision / vision.sum().clamp(min=1),
        text_load=words / words.sum().clamp(min=1),
    )
