"""Ranking a gallery by cosine similarity, for galleries of any size: never more than a few queries' rows at once.

The official programs sort every row; of equals they take whichever comes first. Here the earlier one in the gallery
does, always. A matrix product adds up in an order that depends on its shape, so that equal vectors may differ in the
last digit: similarities are worked out with more digits than are compared.
"""

import numpy as np

CUTOFFS = (1, 5, 10)
_NUMBERS_AT_ONCE = 16_000_000


def rank_best(queries: np.ndarray, gallery: np.ndarray, owner: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The rank of every query's best right answer, from 0.

    Args:
        queries: (Q, D) embeddings.
        gallery: (G, D) embeddings.
        owner: (Q,) number that a query shares with its right answers.
        owners: (G,) number of every answer; each query has at least one.

    Returns:
        (Q,) ranks; NaN where a similarity is not finite, which nothing can be said about.
    """
    places, found = np.arange(len(gallery)), []
    gallery = gallery.astype(np.float64)
    for rows in _chunks(len(queries), len(gallery)):
        similarity = _similarity(queries[rows], gallery)
        right = owner[rows, None] == owners[None]
        best = np.where(right, similarity, -np.inf).max(1, keepdims=True)
        equal = similarity == best
        first = (right & equal).argmax(1)[:, None]
        rank = (similarity > best).sum(1) + (equal & (places < first)).sum(1)
        found.append(np.where(np.isfinite(similarity).all(1), rank.astype(float), np.nan))
    return np.concatenate(found)


def find_nearest(queries: np.ndarray, gallery: np.ndarray, number: int) -> np.ndarray:
    """The nearest answers of every query, the best first: (Q, D), (G, D) -> (Q, number) places in the gallery."""
    found = []
    gallery = gallery.astype(np.float64)
    for rows in _chunks(len(queries), len(gallery)):
        similarity = _similarity(queries[rows], gallery)
        least = np.partition(similarity, -number, axis=1)[:, -number]
        for row, limit in zip(similarity, least, strict=True):
            kept = np.concatenate([np.flatnonzero(row > limit), np.flatnonzero(row == limit)])[:number]
            if len(kept) < number:  # numbers that are none compare with nothing
                kept = np.arange(number)
            kept = np.sort(kept)
            found.append(kept[np.argsort(-row[kept], kind="stable")])
    return np.array(found).reshape(len(queries), number)


def rank_reordered(rank: np.ndarray, nearest: np.ndarray, owner: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The ranks after the nearest answers were put into another order.

    Args:
        rank: (Q,) of `rank_best`.
        nearest: (Q, K) of `find_nearest`, in the new order.
        owner: see `rank_best`.
        owners: see `rank_best`.

    Returns:
        (Q,) ranks; unchanged for a query whose right answers are all beyond the nearest.
    """
    right = owners[nearest] == owner[:, None]
    return np.where(np.isnan(rank) | ~right.any(1), rank, right.argmax(1))


def recalls(text_rank: np.ndarray, image_rank: np.ndarray) -> dict[str, float]:
    """Shares of pictures with one of their captions among the first 1, 5, 10, of captions with their picture among
    them, and the mean of the six.

    Args:
        text_rank: (images,) from 0.
        image_rank: (captions,) from 0.
    """
    found = {}
    for cutoff in CUTOFFS:
        found[f"text_recall_at_{cutoff}"] = recall(text_rank, cutoff)
        found[f"image_recall_at_{cutoff}"] = recall(image_rank, cutoff)
    return {**found, "mean_recall": float(np.mean(list(found.values())))}


def recall(rank: np.ndarray, cutoff: int) -> float:
    """Share of (Q,) ranks from 0 that are below `cutoff`; NaN if one is."""
    return float("nan") if np.isnan(rank).any() else float((rank < cutoff).mean())


def _similarity(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(Q, D), (G, D) float64 -> (Q, G)."""
    products: np.ndarray = queries.astype(np.float64) @ gallery.T
    return products.astype(np.float32)


def _chunks(queries: int, gallery: int) -> list[slice]:
    step = max(1, _NUMBERS_AT_ONCE // gallery)
    return [slice(start, start + step) for start in range(0, queries, step)]
