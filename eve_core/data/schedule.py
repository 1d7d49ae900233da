"""Which example a training run sees when: a pure function of (seed, position).

A run is one long sequence of positions, batch after batch, epoch after epoch. Resuming it is therefore one number, and
neither the number of loader workers nor of processes changes what is drawn.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


class ShuffledEpochs:
    """A map-style dataset of `length` positions over `num_examples` examples, reshuffled every epoch.

    Args:
        num_examples: examples in an epoch.
        length: positions in the whole run, steps times batch size.
        seed: of the run.
        make: builds an example from its index and a generator that is keyed by (seed, epoch, index).
    """

    def __init__(
        self, num_examples: int, length: int, seed: int, make: Callable[[int, np.random.Generator], dict[str, Any]]
    ) -> None:
        self.num_examples = num_examples
        self.length = length
        self.seed = seed
        self.make = make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Any]:
        """The example at `position` of the run."""
        epoch, offset = divmod(position, self.num_examples)
        index = int(_order(self.seed, epoch, self.num_examples)[offset])
        return self.make(index, np.random.default_rng([self.seed, epoch, index]))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_examples)
