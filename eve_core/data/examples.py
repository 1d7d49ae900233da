"""Training examples: rows of annotations by index, with their pictures changed at random."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig
from eve_core.data.augmentation import augment, draw_flip
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.transforms import decode_prepared, resize, stack
from eve_core.progress import Progress

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    import torch

_TEXTS_AT_ONCE = 10_000
_SAMPLED = 1000
# Decoding pushes everything else out of the processor's caches, so it is not taken in turns with the rest picture by
# picture; and of many pictures, the last would push out the first.
_DECODED_AT_ONCE = 16


class Examples(ABC):
    """One example a row.

    Args:
        rows: the annotations.
        text_column: what is tokenised of them.
        images: their pictures.
        preprocessor: tokenizer and size of the pictures.
        augmentation: how pictures are changed; None takes them whole, as in evaluation.
    """

    def __init__(
        self,
        rows: "pa.Table",
        text_column: str,
        images: ImageStore,
        preprocessor: Preprocessor,
        augmentation: AugmentationConfig | None,
    ) -> None:
        self.rows = _as_dataset(rows)
        self.text_column = text_column
        self.images = images
        self.preprocessor = preprocessor
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """Example `index`; every random choice in it comes from `generator`."""
        return self.make([index], [generator])[0]

    def make(self, indices: Sequence[int], generators: Sequence[np.random.Generator]) -> list[dict[str, Any]]:
        """Several examples, each with a generator of its own.

        Raises:
            UserError: a picture is missing or unreadable.
        """
        columns = self.rows[list(indices)]  # at once: fetched alone, a row takes several times as long
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        texts = self.preprocessor.texts(columns[self.text_column])
        examples = [self.build(*parts) for parts in zip(rows, texts, generators, strict=True)]
        for start in range(0, len(examples), _DECODED_AT_ONCE):
            some = slice(start, start + _DECODED_AT_ONCE)
            seen = [self.pictures(row) for row in rows[some]]
            decoded = [[decode_prepared(self.images[image_id], image_id) for image_id in ids] for ids, _ in seen]
            for example, pictures, (_, said), generator in zip(
                examples[some], decoded, seen, generators[some], strict=True
            ):
                example["pixel_values"] = self._view(pictures, said, generator)
        return examples

    def mean_tokens(self) -> float:
        """Tokens of a text, specials included, on average over some of the examples."""
        some = range(0, len(self), max(1, len(self) // _SAMPLED))
        return float(np.mean(self.preprocessor.count_tokens(self.rows[list(some)][self.text_column])))

    def identify(self, index: int) -> dict[str, Any]:
        """The pictures and the text of an example, by which people find it in the data."""
        row = self.rows[index]
        return {"image_ids": self.pictures(row)[0], self.text_column: row[self.text_column]}

    @abstractmethod
    def build(self, row: dict[str, Any], text: dict[str, list[int]], generator: np.random.Generator) -> dict[str, Any]:
        """The example of a row, given its text's tokens, but for its pictures.

        Those are pixel_values: uint8, (3, S, S), or (n, 3, S, S) of several; the collator normalises them.
        """

    @abstractmethod
    def pictures(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The image_ids of a row's pictures, and all that it says of them, answers included."""

    def _view(self, pictures: "list[torch.Tensor]", said: list[str], generator: np.random.Generator) -> "torch.Tensor":
        """Several pictures are mirrored together, so that what a text says of all of them stays true."""
        size = self.preprocessor.image_size
        if self.augmentation is None:
            views = [resize(pixels, size) for pixels in pictures]
        else:
            flip = draw_flip(self.augmentation, said, generator)
            views = [augment(pixels, size, self.augmentation, flip=flip, generator=generator) for pixels in pictures]
        return stack(views) if len(views) > 1 else views[0]

    def count_tokens(self) -> np.ndarray:
        """Tokens of every example's text, specials included: (len(self),) int32, with a progress bar."""
        counts = np.empty(len(self), dtype=np.int32)
        with Progress("counting tokens", len(self), "text") as progress:
            for start in range(0, len(self), _TEXTS_AT_ONCE):
                texts = self.rows[start : start + _TEXTS_AT_ONCE][self.text_column]
                counts[start : start + len(texts)] = self.preprocessor.count_tokens(texts)
                progress.update(len(texts))
        return counts


def _as_dataset(rows: "pa.Table") -> "datasets.Dataset":
    from datasets import Dataset
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    # Dataset.from_parquet would decode the shards again and write the rows as Arrow files into a cache; these are in
    # memory already, where worker processes share them. The fingerprint is their name in that cache, by default a hash
    # over all of them.
    return Dataset(InMemoryTable(rows), fingerprint=generate_random_fingerprint())
