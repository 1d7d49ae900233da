"""Which example a training run sees when: a pure function of (seed, position).

A run is one long sequence of positions, batch after batch, epoch after epoch. Resuming it is therefore one number, and
neither the number of loader workers nor of processes changes what is drawn.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from eve_core.data.examples import Examples

BATCHES_TO_SORT = 50
"""How many batches are sorted by length together."""


class ShuffledEpochs:
    """A map-style dataset of `length` positions over some examples, reshuffled every epoch.

    Args:
        examples: an epoch of them. Each is made with a generator that is keyed by (seed, epoch, index).
        length: positions in the whole run, steps times batch size.
        seed: of the run.
        buckets: makes up batches of texts of similar length.
    """

    def __init__(self, examples: "Examples", length: int, seed: int, buckets: "LengthBuckets | None" = None) -> None:
        self.examples = examples
        self.length = length
        self.seed = seed
        self.buckets = buckets

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Any]:
        """The example at `position` of the run."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The examples at `positions`: PyTorch's loader asks for a batch at once."""
        places = [self.place(position) for position in positions]
        generators = [np.random.default_rng([self.seed, epoch, index]) for epoch, index in places]
        return self.examples.make([index for _, index in places], generators)

    def place(self, position: int) -> tuple[int, int]:
        """Epoch and index of the example at `position`."""
        number = len(self.examples)
        epoch, offset = divmod(position, number)
        return epoch, int(_order(self.seed, epoch, number, self.buckets)[offset])


class LengthBuckets:
    """Reorders an epoch so that a batch holds texts of similar length, and little of it is padding.

    Args:
        lengths: (num_examples,) tokens of every example's text.
        batch_size: over all processes; batch k of the run is its positions from k * batch_size on.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size

    def arrange(self, order: np.ndarray, first: int, generator: np.random.Generator) -> np.ndarray:
        """Sort stretches of 50 batches by length, and shuffle the batches of the whole epoch.

        Args:
            order: (num_examples,) indices of an epoch, shuffled.
            first: the epoch's first position in the run. Where an epoch begins or ends within a batch, that batch is
                left as it was shuffled.
            generator: shuffles the batches.

        Returns:
            The same indices in another order.
        """
        size = self.batch_size
        begin = min(-first % size, len(order))
        end = begin + (len(order) - begin) // size * size
        whole = order[begin:end].copy()
        for start in range(0, len(whole), BATCHES_TO_SORT * size):
            stretch = whole[start : start + BATCHES_TO_SORT * size]
            stretch[:] = stretch[np.argsort(self.lengths[stretch], kind="stable")]
        batches = generator.permutation(whole.reshape(-1, size))
        return np.concatenate([order[:begin], batches.ravel(), order[end:]])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int, buckets: LengthBuckets | None) -> np.ndarray:
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(num_examples)
    return order if buckets is None else buckets.arrange(order, epoch * num_examples, generator)
