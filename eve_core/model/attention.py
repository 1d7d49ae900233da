"""Multi-head self-attention, shared by both modalities."""

import torch
from torch import nn
from torch.nn import functional as F

# On a processor the explicit product is faster than the fused kernel, forward and backward, up to this length; in bf16
# always.
_SHORT_ON_CPU = 64


class SelfAttention(nn.Module):
    """Self-attention whose queries and values have a bias and whose keys have none.

    Args:
        hidden_size: D.
        num_heads: heads.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(hidden_size))
        self.v_bias = nn.Parameter(torch.zeros(hidden_size))
        self.projection = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden: torch.Tensor, key_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend.

        Args:
            hidden: (B, N, D).
            key_mask: (B, N) bool, False for padding; None when nothing is padded.

        Returns:
            (B, N, D). Rows of padding hold numbers without meaning.
        """
        batch, length, width = hidden.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(hidden, self.qkv.weight, bias).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mask = None if key_mask is None else key_mask[:, None, None, :]
        if hidden.device.type == "cpu" and (length <= _SHORT_ON_CPU or query.dtype == torch.bfloat16):
            with torch.autocast("cpu", enabled=False):  # the softmax reckons in float32 whatever it reads
                attended = _explicit_attention(query, key, value, mask)
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.projection(attended.transpose(1, 2).reshape(batch, length, width))


def _explicit_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value
