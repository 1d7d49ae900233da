"""Pairs of pictures that look alike, among millions, without comparing each with each.

Multi-index hashing (Norouzi, Punjani and Fleet, 2012): keys of 64 bits are cut into four bands of 16. Where two keys
differ in at most 4 s + a bits (a < 4), one of the first a + 1 bands differs in at most s bits, or one of the others in
at most s - 1; otherwise there would be more. So it is enough to look up each band of a query, with every such change,
in a table of the references' bands, and to count the bits that differ from what stands there.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

_BANDS, _BAND_BITS = 4, 16
_QUERIES_AT_ONCE = 1 << 14
_PAIRS_AT_ONCE = 1 << 20
"""Pairs that are compared at a time, unless one query alone meets more."""


def near_duplicates(queries: np.ndarray, references: np.ndarray, *, key_distance: int, distance: int) -> np.ndarray:
    """All pairs of a query and a reference whose hashes are close; none is missed.

    Memory is that of the inputs and of the pairs: where many hashes are equal, give each once. Hashes of zeros match
    nothing.

    Args:
        queries: (N, 32) uint8, perceptual hashes.
        references: (M, 32) uint8.
        key_distance: how many of the key's 64 bits may differ.
        distance: how many of all 256 bits may differ.

    Returns:
        (P, 3) int32, sorted: the query's number, the reference's number, the bits in which they differ.
    """
    asked, known = np.flatnonzero(queries.any(axis=1)), np.flatnonzero(references.any(axis=1))
    known_words = _words(references[known])
    tables = [_Table(known_words[:, 0], band, key_distance) for band in range(_BANDS)]
    found = [np.empty((0, 3), dtype=np.int32)]
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        numbers = asked[start : start + _QUERIES_AT_ONCE]
        words = _words(queries[numbers])
        met = [row * len(known) + place for table in tables for row, place in table.look_up(words[:, 0])]
        pairs = np.sort(np.concatenate(met))  # numpy.unique hashes them, which takes twenty times as long
        row, place = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], len(known))
        bits = np.bitwise_count(words[row] ^ known_words[place]).sum(axis=1, dtype=np.int32)
        close = bits <= distance
        found.append(np.stack([numbers[row], known[place], bits], axis=1, dtype=np.int32)[close])
    return np.concatenate(found)


def _words(hashes: np.ndarray) -> np.ndarray:
    """(N, 32) uint8 -> (N, 4) uint64; the first is the key."""
    return np.ascontiguousarray(hashes).view(np.uint64)


class _Table:
    """Where keys with a certain band are.

    Args:
        keys: (M,) uint64.
        band: which of the four.
        radius: in how many bits keys may differ.
    """

    def __init__(self, keys: np.ndarray, band: int, radius: int) -> None:
        self._band = band
        self._radius = radius
        bands = self._bands(keys)
        # Sorted by their bands, keys are read in the order in which they lie in memory.
        self._places = np.argsort(bands, kind="stable")
        self._keys = keys[self._places]
        self._starts = np.searchsorted(bands[self._places], np.arange(2**_BAND_BITS + 1))

    def look_up(self, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places in `keys` and in the table of all pairs that are close and that this band has to find."""
        bands = self._bands(keys)
        order = np.argsort(bands, kind="stable")
        bands, keys = bands[order], keys[order]
        most, bands_with_most = divmod(self._radius, _BANDS)
        for change in _changes(most if self._band <= bands_with_most else most - 1):
            sought = bands ^ change
            first, sizes = self._starts[:-1][sought], np.diff(self._starts)[sought]
            for part in _parts(sizes):
                row, place = _spread(first[part], sizes[part])
                row += part.start
                close = np.flatnonzero(np.bitwise_count(keys[row] ^ self._keys[place]) <= self._radius)
                yield order[row[close]], self._places[place[close]]

    def _bands(self, keys: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(keys).view(np.uint16)[self._band :: _BANDS]


def _changes(most: int) -> Iterator[np.uint16]:
    """Every band with at most `most` bits set; none when that is negative."""
    for number in range(most + 1):
        for bits in combinations(range(_BAND_BITS), number):
            yield np.uint16(sum(1 << bit for bit in bits))


def _parts(sizes: np.ndarray) -> Iterator[slice]:
    """Consecutive slices whose sizes sum up to at most `_PAIRS_AT_ONCE`, or of one."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        most = ends[start] - sizes[start] + _PAIRS_AT_ONCE
        stop = max(start + 1, int(np.searchsorted(ends, most, side="right")))
        yield slice(start, stop)
        start = stop


def _spread(first: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every i, sizes[i] times: i, and first[i], first[i] + 1, ..."""
    row = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return row, np.arange(len(row)) + (first - before)[row]
