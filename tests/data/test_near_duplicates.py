"""The search finds what comparing each with each finds, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from eve_core.data import near_duplicates as module
from eve_core.data.near_duplicates import near_duplicates


def drawn(seed: int, number: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(number, 32), dtype=np.uint8)


def changed(hashes: np.ndarray, seed: int, most: int) -> np.ndarray:
    """Copies in which each of the key's bits, and of the others, flips with a chance that grows from row to row."""
    chances = np.linspace(0, most / 256, len(hashes))[:, None]
    flips = np.random.default_rng(seed).random((len(hashes), 256)) < chances
    return hashes ^ np.packbits(flips, axis=1)


def each_with_each(queries: np.ndarray, references: np.ndarray, key_distance: int, distance: int) -> list[list[int]]:
    bits = np.bitwise_count(queries[:, None] ^ references)
    whole, key = bits.sum(axis=2, dtype=int), bits[:, :, :8].sum(axis=2, dtype=int)
    pairs = np.argwhere((key <= key_distance) & (whole <= distance))
    return [[query, reference, whole[query, reference]] for query, reference in pairs.tolist()]


@pytest.mark.parametrize("key_distance", range(13))
def test_every_close_pair_is_found_once_and_no_other(key_distance):
    centres = drawn(0, 40)
    queries = changed(np.repeat(centres, 5, axis=0), 1, 48)
    references = changed(np.tile(centres, (5, 1)), 2, 48)
    expected = each_with_each(queries, references, key_distance, 40)
    assert len(expected) > 5
    assert near_duplicates(queries, references, key_distance=key_distance, distance=40).tolist() == expected


def test_the_whole_hash_decides_where_keys_agree():
    queries = drawn(0, 1)
    references = np.repeat(queries, 3, axis=0)
    references[1, 8] ^= 0b11
    references[2, 8:12] ^= 0xFF
    assert near_duplicates(queries, references, key_distance=0, distance=2).tolist() == [[0, 0, 0], [0, 1, 2]]


def test_hashes_of_zeros_match_nothing():
    hashes = np.zeros((3, 32), dtype=np.uint8)
    hashes[1, 0] = 1
    assert near_duplicates(hashes, hashes, key_distance=8, distance=8).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(("number", "other"), [(0, 3), (3, 0), (0, 0)])
def test_without_hashes_there_are_no_pairs(number, other):
    pairs = near_duplicates(drawn(0, number), drawn(0, other), key_distance=8, distance=40)
    assert pairs.shape == (0, 3)


def test_how_many_are_compared_at_a_time_changes_nothing(monkeypatch):
    hashes = drawn(0, 150)
    hashes[:, :2] = 7  # one band is the same in all
    expected = near_duplicates(hashes, hashes, key_distance=12, distance=128)
    assert len(expected) > 150
    for number in (7, 100, 301):
        monkeypatch.setattr(module, "_PAIRS_AT_ONCE", number)
        monkeypatch.setattr(module, "_QUERIES_AT_ONCE", number)
        assert np.array_equal(near_duplicates(hashes, hashes, key_distance=12, distance=128), expected)


def test_a_band_that_all_share_takes_no_more_memory():
    references, queries = drawn(0, 50_000), drawn(1, 500)
    references[:, :2] = queries[:, :2] = 7
    queries[3] = references[4]
    tracemalloc.start()
    pairs = near_duplicates(queries, references, key_distance=4, distance=40)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pairs.tolist() == [[3, 4, 0]]
    assert peak < 200e6  # its 25 million candidates take 400 MB as two numbers each
