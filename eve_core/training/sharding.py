"""FSDP2: a process keeps its share of weights, gradients and moments, and gathers a block's weights to compute it.

What is gathered is float32, as DDP has it, and autocast does the rest: a sharded run's losses are those of one that is
not. Checkpoints hold whole tensors, so they do not depend on how a model was sharded.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from eve_core.model.encoder import EncoderBlock
from eve_core.training.monitor import is_first_process

_GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SENT_OUT = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def shard(model: nn.Module, device: torch.device, processes: int) -> None:
    """Spread the parameters of `model`, the same in all processes, over them: block by block, then the rest."""
    mesh = init_device_mesh(device.type, (processes,))
    for block in [module for module in model.modules() if isinstance(module, EncoderBlock)]:
        fully_shard(block, mesh=mesh)
    # FSDP2 does not take single numbers; the Trainer keeps them the same everywhere.
    numbers = {parameter for parameter in model.parameters() if parameter.dim() == 0}
    fully_shard(model, mesh=mesh, ignored_params=numbers)


def gather_model(model: nn.Module) -> dict[str, torch.Tensor]:
    """The whole weights on the CPU of the first process; nothing in the others, which all have to call this."""
    state: dict[str, Any] = get_model_state_dict(model, options=_GATHERED)
    return state


def gather_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """As `gather_model`, its moments and settings by the parameters' names."""
    return get_optimizer_state_dict(model, optimizer, options=_GATHERED)


def load_model(model: nn.Module, file: Path) -> None:
    """Spread weights that the first process reads over all."""
    state: dict[str, Any] = load_file(file) if is_first_process() else {}
    set_model_state_dict(model, state, options=_SENT_OUT)


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> None:
    """As `load_model`, what `gather_optimizer` gave."""
    state = torch.load(file, weights_only=True) if is_first_process() else {}
    set_optimizer_state_dict(model, optimizer, state, options=_SENT_OUT)
