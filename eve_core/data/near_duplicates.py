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
_AT_ONCE = 1 << 21
"""Pairs that are compared at a time, unless one query alone meets more."""


def near_duplicates(queries: np.ndarray, references: np.ndarray, *, key_distance: int, distance: int) -> np.ndarray:
    """All pairs of a query and a reference whose hashes are close; none is missed.

    Time and memory grow with the pairs: give equal hashes once where there may be many. Hashes of zeros match nothing.

    Args:
        queries: (N, 32) uint8, perceptual hashes.
        references: (M, 32) uint8.
        key_distance: how many of the key's 64 bits may differ.
        distance: how many of all 256 bits may differ.

    Returns:
        (P, 3) int64, sorted: the query's number, the reference's number, the bits in which they differ.
    """
    asked, known = np.flatnonzero(queries.any(axis=1)), np.flatnonzero(references.any(axis=1))
    asked_words, known_words = _words(queries[asked]), _words(references[known])
    asked_keys, known_keys = (np.ascontiguousarray(words[:, 0]) for words in (asked_words, known_words))
    found = []
    for asked_rows, known_rows in _candidates(asked_words[:, 0].copy(), known_words[:, 0].copy(), key_distance):
        bits = np.bitwise_count(asked_words[asked_rows] ^ known_words[known_rows]).sum(axis=1, dtype=np.int64)
        close = bits <= distance
        found.append(np.stack([asked[asked_rows], known[known_rows], bits], axis=1)[close])
    pairs = np.concatenate([np.empty((0, 3), dtype=np.int64), *found])
    _, once = np.unique(pairs[:, 0] * len(references) + pairs[:, 1], return_index=True)
    return pairs[once]


def _words(hashes: np.ndarray) -> np.ndarray:
    """(N, 32) uint8 -> (N, 4) uint64; the first is the key."""
    return np.ascontiguousarray(hashes).view(np.uint64)


def _candidates(asked: np.ndarray, known: np.ndarray, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of pairs whose keys differ in at most `radius` bits; a pair may come several times."""
    changes, bands_with_more = divmod(radius, _BANDS)
    for band in range(_BANDS):
        asked_bands, known_bands = (keys.view(np.uint16)[band::_BANDS] for keys in (asked, known))
        # Sorted by their band, both are read in the order in which they lie in memory.
        asked_rows, known_rows = np.argsort(asked_bands, kind="stable"), np.argsort(known_bands, kind="stable")
        asked_keys, known_keys = asked[asked_rows], known[known_rows]
        starts = np.searchsorted(known_bands[known_rows], np.arange(2**_BAND_BITS + 1))
        for change in _changes(changes if band <= bands_with_more else changes - 1):
            sought = asked_bands[asked_rows] ^ change
            first, sizes = starts[:-1][sought], np.diff(starts)[sought]
            for part in _parts(sizes):
                places, row = _spread(first[part], sizes[part])
                row += part.start
                close = np.flatnonzero(np.bitwise_count(asked_keys[row] ^ known_keys[places]) <= radius)
                yield asked_rows[row[close]], known_rows[places[close]]


def _changes(most: int) -> Iterator[np.uint16]:
    """Every band of at most `most` set bits; none when that is negative."""
    for number in range(most + 1):
        for bits in combinations(range(_BAND_BITS), number):
            yield np.uint16(sum(1 << bit for bit in bits))


def _parts(sizes: np.ndarray) -> Iterator[slice]:
    """Consecutive slices that hold some `_AT_ONCE` pairs each."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start] - sizes[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def _spread(first: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places first[i], first[i] + 1, ... (sizes[i] of them) for every i one after another, and their i."""
    row = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return np.arange(len(row)) + (first - before)[row], row
