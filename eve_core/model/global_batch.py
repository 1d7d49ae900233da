"""Losses of a step's whole batch, where that is spread over processes and micro-batches.

The experts' load is counted over all of it, and a picture is contrasted with the texts of all processes. So a loss that
a process computes from its own micro-batch is its contribution: summed over micro-batches and averaged over processes
(which is what gradient accumulation and DDP do) it is the loss of the whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F

from eve_core.model.outputs import Routing


def num_processes() -> int:
    """How many processes the batch is spread over."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def load_balance_loss(routing: Sequence[Routing], *, whole_batch: bool) -> torch.Tensor:
    """Eq. 7, E sum_i f_i p_i: f the share of first choices, p the mean probability, both over all tokens.

    Args:
        routing: of the soft-router blocks.
        whole_batch: count the first choices of all processes, and of what `known_counts` says; of these tokens alone
            otherwise.

    Returns:
        Scalar, mean over the blocks: the contribution of these tokens.
    """
    counts, sums = (
        torch.stack([getattr(block, name) for block in routing]) for name in ("first_choices", "probability_sums")
    )
    spread = num_processes() if whole_batch else 1
    if whole_batch:
        counts = _of_whole_batch(counts)
    tokens = counts.sum(1, keepdim=True)
    return counts.shape[1] * spread * ((counts / tokens) * (sums / tokens)).sum(1).mean()


_recorded: list[torch.Tensor] | None = None
_known: Iterator[torch.Tensor] | None = None


def _of_whole_batch(counts: torch.Tensor) -> torch.Tensor:
    if _known is not None:
        return next(_known)
    if _recorded is not None:
        _recorded.append(counts)
    elif num_processes() > 1:
        distributed.all_reduce(counts)
    return counts


@contextmanager
def record_counts() -> Iterator[list[torch.Tensor]]:
    """Collect the counts of first choices, one tensor (blocks, E) an encoder pass, instead of adding them up."""
    global _recorded
    _recorded = []
    try:
        yield _recorded
    finally:
        _recorded = None


@contextmanager
def known_counts(counts: Sequence[torch.Tensor] | None) -> Iterator[None]:
    """Take `counts`, one tensor an encoder pass, for those of the whole batch; None leaves it to the processes."""
    global _known
    _known = None if counts is None else iter(counts)
    try:
        yield
    finally:
        _known = None


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


def pad_to_longest(texts: torch.Tensor) -> torch.Tensor:
    """(B, L) -> (B, longest L of all processes), with zeros."""
    if num_processes() == 1:
        return texts
    longest = torch.tensor(texts.shape[1], device=texts.device)
    distributed.all_reduce(longest, distributed.ReduceOp.MAX)
    return F.pad(texts, (0, int(longest) - texts.shape[1]))


def same_everywhere(noise: torch.Tensor) -> torch.Tensor:
    """`noise` as the first process drew it."""
    if num_processes() > 1:
        distributed.broadcast(noise, 0)
    return noise
