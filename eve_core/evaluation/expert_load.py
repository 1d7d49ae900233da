"""Which experts a model's tokens choose while it is scored."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn


class ExpertLoad:
    """Counts along in the soft routers of a model, as a context manager.

    Args:
        routers: by name of their block.
    """

    def __init__(self, routers: "dict[str, nn.Module]") -> None:
        self._routers = routers
        self._loads: dict[str, dict[str, list[np.ndarray]]] = {name: {"vision": [], "text": []} for name in routers}
        self._hooks: list[Any] = []

    @classmethod
    def of(cls, model: "nn.Module") -> "ExpertLoad":
        """For all soft routers of `model`."""
        from eve_core.model.soft_router import SoftRouter

        modules = dict(model.named_modules())
        return cls({_block(name): module for name, module in modules.items() if isinstance(module, SoftRouter)})

    def __enter__(self) -> "ExpertLoad":
        self._hooks = [
            router.register_forward_hook(self._take(self._loads[name])) for name, router in self._routers.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def by_block(self) -> dict[str, dict[str, list[float]]]:
        """Every block's loads: share of the choices that each expert got, of vision and of text tokens."""
        return {
            name: {modality: _mean(loads).tolist() for modality, loads in both.items() if loads}
            for name, both in self._loads.items()
        }

    def dead(self) -> float:
        """Share of the experts that no token chose, in the worst block; 0 without soft routers."""
        shares = [
            float(np.mean(np.sum([_mean(loads) for loads in both.values() if loads], axis=0) == 0))
            for both in self._loads.values()
        ]
        return max(shares, default=0.0)

    def _take(self, loads: dict[str, list[np.ndarray]]) -> Callable[..., None]:
        def take(_module: Any, _inputs: Any, output: Any) -> None:
            routing = output[1]
            for modality in loads:
                load = getattr(routing, f"{modality}_load").float().cpu().numpy()
                if load.any():  # a pass may be of one modality alone
                    loads[modality].append(load)

        return take


def _block(name: str) -> str:
    """backbone.blocks.3.router -> block 3."""
    return f"block {name.split('.')[-2]}"


def _mean(loads: list[np.ndarray]) -> np.ndarray:
    return np.mean(loads, axis=0)
