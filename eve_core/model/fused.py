"""Feed-forward networks with QuickGELU as single autograd nodes, for one network and for a group of experts.

Against the same written with PyTorch's own pieces they keep one wide activation instead of two and scale nothing on
its own: with s = 1.702, x * sigmoid(s x) is silu(s x) / s, and both factors are part of the matrix products.
"""

from typing import Any

import torch
from torch.nn import functional as F

_SCALE = 1.702
# A bf16 product on a processor is compiled for every number of rows it meets; groups are padded to few of them.
_LEAST_ROWS = 16

Linear = tuple[torch.Tensor, torch.Tensor]


def feed_forward(inputs: torch.Tensor, fc1: Linear, fc2: Linear) -> torch.Tensor:
    """QuickGELU network.

    Args:
        inputs: (..., D).
        fc1: weight (F, D), bias (F,).
        fc2: weight (D, F), bias (D,).

    Returns:
        (..., D), in autocast's type where that is on.
    """
    output: torch.Tensor = _FeedForward.apply(inputs, *fc1, *fc2)
    return output


def expert_feed_forward(rows: torch.Tensor, counts: torch.Tensor, fc1: Linear, fc2: Linear) -> torch.Tensor:
    """QuickGELU networks, one after the other, each on its own rows. Meant for a processor: it reads `counts`.

    Args:
        rows: (R, D), sorted by expert.
        counts: (E,) int64, rows of each expert.
        fc1: weight (E, D, F), bias (E, F).
        fc2: weight (E, F, D), bias (E, D).

    Returns:
        (R, D), in autocast's type where that is on.
    """
    output: torch.Tensor = _ExpertFeedForward.apply(rows, counts, *fc1, *fc2)
    return output


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        dtype = _compute_dtype(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            rows = inputs.reshape(-1, inputs.shape[-1]).to(dtype)
            weight1, bias1, weight2, bias2 = (parameter.to(dtype) for parameter in parameters)
            hidden = _up(rows, weight1.T, bias1)
            ctx.save_for_backward(rows, hidden, weight1, weight2)
            ctx.types = (inputs.dtype, *(parameter.dtype for parameter in parameters))
            return _down(hidden, weight2.T, bias2).view(inputs.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, hidden, weight1, weight2 = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        activated = F.silu(hidden)
        grad_weight2 = torch.addmm(grad_rows.new_empty(()), grad_rows.T, activated, beta=0, alpha=1 / _SCALE)
        grad_hidden = torch.ops.aten.silu_backward(grad_rows @ weight2, hidden)
        grads = (
            (grad_hidden @ weight1).view(grad.shape),
            grad_hidden.T @ rows,
            grad_hidden.sum(0),
            grad_weight2,
            grad_rows.sum(0),
        )
        return tuple(grad.to(dtype) for grad, dtype in zip(grads, ctx.types, strict=True))


class _ExpertFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, counts: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        dtype = _compute_dtype(rows)
        with torch.autocast(rows.device.type, enabled=False):
            groups = _Groups(counts.tolist(), padded=dtype == torch.bfloat16)
            padded = groups.pad(rows, dtype)
            weight1, bias1, weight2, bias2 = (parameter.to(dtype) for parameter in parameters)
            hidden = padded.new_empty(len(padded), weight1.shape[2])
            output = torch.empty_like(padded)
            for expert, span in groups.spans:
                _up(padded[span], weight1[expert], bias1[expert], out=hidden[span])
                _down(hidden[span], weight2[expert], bias2[expert], out=output[span])
            ctx.save_for_backward(padded, hidden, weight1, weight2)
            ctx.groups = groups
            ctx.types = (rows.dtype, *(parameter.dtype for parameter in parameters))
            return groups.unpad(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        padded, hidden, weight1, weight2 = ctx.saved_tensors
        groups: _Groups = ctx.groups
        rows_type, *types = ctx.types
        grad_rows = groups.pad(grad, hidden.dtype)
        grad_padded = torch.empty_like(padded)
        shapes = (weight1.shape, (len(weight1), weight1.shape[2]), weight2.shape, (len(weight2), weight2.shape[2]))
        grads = [grad.new_empty(shape, dtype=dtype) for shape, dtype in zip(shapes, types, strict=True)]
        for expert in groups.empty:
            for whole in grads:
                whole[expert].zero_()
        for expert, span in groups.spans:
            group, inner = grad_rows[span], hidden[span]
            grad_hidden = torch.ops.aten.silu_backward(group @ weight2[expert].T, inner)
            torch.mm(grad_hidden, weight1[expert].T, out=grad_padded[span])
            _product(padded[span].T, grad_hidden, grads[0][expert])
            grads[1][expert] = grad_hidden.sum(0)
            _product(F.silu(inner).T, group, grads[2][expert], alpha=1 / _SCALE)
            grads[3][expert] = group.sum(0)
        return groups.unpad(grad_padded).to(rows_type), None, *grads


class _Groups:
    """Where each expert's rows lie, without padding and with it."""

    def __init__(self, counts: list[int], *, padded: bool) -> None:
        self.counts = counts
        self.padded = [_padded_size(count) for count in counts] if padded else counts
        self.same = self.counts == self.padded
        ends = torch.tensor(self.padded).cumsum(0).tolist()
        self.spans = [
            (expert, slice(end - size, end))
            for expert, (size, end) in enumerate(zip(self.padded, ends, strict=True))
            if size
        ]
        self.empty = [expert for expert, size in enumerate(self.padded) if not size]

    def pad(self, rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(R, D) -> (R', D) with zeros between the groups."""
        if self.same:
            return rows.to(dtype).contiguous()
        padded = rows.new_zeros(sum(self.padded), rows.shape[1], dtype=dtype)
        for (expert, span), group in zip(self.spans, rows.split([n for n in self.counts if n]), strict=True):
            padded[span.start : span.start + self.counts[expert]] = group
        return padded

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """(R', D) -> (R, D)."""
        if self.same:
            return padded
        return torch.cat([padded[span.start : span.start + self.counts[expert]] for expert, span in self.spans])


def _padded_size(rows: int) -> int:
    """The next of sixteen sizes between two powers of two, so that a sixteenth is padding at most, of large groups."""
    multiple = max(_LEAST_ROWS, 2 ** ((rows - 1).bit_length() - 5)) if rows else 1
    return -(-rows // multiple) * multiple


def _up(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """(T, D) -> (T, F), already multiplied by the scale."""
    return torch.addmm(bias, rows, weight, beta=_SCALE, alpha=_SCALE, out=out)


def _down(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    """(T, F) -> (T, D)."""
    return torch.addmm(bias, F.silu(hidden), weight, alpha=1 / _SCALE, out=out)


def _product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, alpha: float = 1.0) -> None:
    """out = alpha * left @ right, whatever type `out` has."""
    same = out.dtype == left.dtype
    result = torch.addmm(left.new_empty(()), left, right, beta=0, alpha=alpha, out=out if same else None)
    if not same:
        out.copy_(result)


def _compute_dtype(inputs: torch.Tensor) -> torch.dtype:
    device = inputs.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
