"""The batch of a step, where it is spread over processes: what they compute together.

A loss that a process computes from its own rows is its contribution: averaged over processes, which is what DDP does
with gradients, it is the loss of the whole.
"""

from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F


def num_processes() -> int:
    """How many processes the batch is spread over."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def add_up(numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`, summed over the processes in place, without gradient."""
    if num_processes() > 1:
        distributed.all_reduce(numbers)
    return numbers


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(num_processes())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        return total.chunk(num_processes())[distributed.get_rank()]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """(B, ...) of every process -> (processes x B, ...), with gradient to the process that a row comes from."""
    if num_processes() == 1:
        return rows
    gathered: torch.Tensor = _GatherRows.apply(rows)
    return gathered


def own_rows(number: int, *, whole_batch: bool) -> slice:
    """Where the `number` rows of this process are among the gathered ones."""
    first = distributed.get_rank() * number if whole_batch and num_processes() > 1 else 0
    return slice(first, first + number)


def pad_to_longest(*texts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensors (B, L) -> (B, longest L of all processes), with zeros."""
    if num_processes() == 1:
        return texts
    longest = torch.tensor(texts[0].shape[1], device=texts[0].device)
    distributed.all_reduce(longest, distributed.ReduceOp.MAX)
    missing = int(longest) - texts[0].shape[1]
    return tuple(F.pad(text, (0, missing)) for text in texts)


def same_everywhere(noise: torch.Tensor) -> torch.Tensor:
    """`noise` as the first process drew it."""
    if num_processes() > 1:
        distributed.broadcast(noise, 0)
    return noise
