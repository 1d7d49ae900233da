"""The textbook way to run a mixture of experts, for comparison: one-hot tensors of tokens x experts x capacity."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model import EveConfig

# Tensors of T x E x C that a training step holds at once, as measured: weights, dispatch, temporaries, a gradient.
_LIVE_TENSORS = 4


class OneHotRouter(nn.Module):
    """Top-2 experts with a fixed capacity, dispatched and combined by einsum (GShard).

    An expert takes C = ceil(2 T / E) of the T tokens; all first choices queue before all second ones, in the order of
    the tokens, and what does not fit is dropped. Work and memory of the dispatch grow with T squared.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        number, width, inner = config.num_experts, config.hidden_size, config.intermediate_size
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.gate = nn.Linear(width, number, bias=False)
        self.fc1_weight = nn.Parameter(torch.empty(number, width, inner))
        self.fc1_bias = nn.Parameter(torch.empty(number, 1, inner))
        self.fc2_weight = nn.Parameter(torch.empty(number, inner, width))
        self.fc2_bias = nn.Parameter(torch.empty(number, 1, width))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, N, D)."""
        tokens = self.norm(hidden).flatten(0, 1)
        with torch.autocast(hidden.device.type, enabled=False):
            weights = self._spread(F.linear(tokens.float(), self.gate.weight).softmax(-1))
        inputs = torch.einsum("tec,td->ecd", weights.bool().to(tokens.dtype), tokens)
        inner = torch.bmm(inputs, self.fc1_weight) + self.fc1_bias
        # QuickGELU.
        outputs = torch.bmm(inner * torch.sigmoid(1.702 * inner), self.fc2_weight) + self.fc2_bias
        return torch.einsum("tec,ecd->td", weights, outputs).view(hidden.shape)

    @staticmethod
    def _spread(probabilities: torch.Tensor) -> torch.Tensor:
        """(T, E) -> (T, E, C) the weight of every token in every place of every expert."""
        num_tokens, num_experts = probabilities.shape
        capacity = one_hot_capacity(num_tokens, num_experts)
        first = F.one_hot(probabilities.argmax(-1), num_experts)
        second = F.one_hot(probabilities.masked_fill(first.bool(), 0).argmax(-1), num_experts)
        queues = (first.cumsum(0) - 1, second.cumsum(0) - 1 + first.sum(0))
        gates = [(probabilities * choice).sum(-1) for choice in (first, second)]
        places = []
        for choice, queue, gate in zip((first, second), queues, gates, strict=True):
            place = (queue * choice).sum(-1)
            weight = gate / (gates[0] + gates[1]) * (place < capacity)
            slot = F.one_hot(place.clamp(max=capacity - 1), capacity).to(weight.dtype)
            places.append(torch.einsum("te,tc->tec", weight[:, None] * choice, slot))
        return places[0] + places[1]


def one_hot_capacity(num_tokens: int, num_experts: int) -> int:
    """C, the tokens that an expert takes."""
    return math.ceil(2 * num_tokens / num_experts)


def one_hot_gigabytes(num_tokens: int, num_experts: int) -> float:
    """An estimate of what the dispatch alone needs in a training step."""
    return _LIVE_TENSORS * 4 * num_tokens * num_experts * one_hot_capacity(num_tokens, num_experts) / 1e9
