"""Ranking in chunks is ranking the whole matrix."""

import numpy as np
import pytest

from eve_core.tasks import recall
from eve_core.tasks.recall import find_nearest, rank_best, rank_reordered, recalls


@pytest.fixture(params=[1, 1000, 10**9], ids=["a row at once", "some rows", "all"])
def chunks(request, monkeypatch):
    monkeypatch.setattr(recall, "_NUMBERS_AT_ONCE", request.param)


@pytest.fixture
def embeddings():
    """40 pictures with 1 to 4 captions; small whole numbers, so that products are exact and many are equal."""
    draw = np.random.default_rng(0)
    images = draw.integers(-1, 2, (40, 6)).astype(np.float32)
    owners = np.repeat(np.arange(40), draw.integers(1, 5, 40))
    texts = draw.integers(-1, 2, (len(owners), 6)).astype(np.float32)
    return images, texts, owners


def test_chunks_give_what_the_whole_matrix_gives(chunks, embeddings):
    images, texts, owners = embeddings
    similarity = images @ texts.T
    for queries, gallery, owner, other in (
        (images, texts, np.arange(40), owners),
        (texts, images, owners, np.arange(40)),
    ):
        whole = similarity if len(queries) == 40 else similarity.T
        order = [sorted(range(len(gallery)), key=lambda i, row=row: -row[i]) for row in whole]  # stable
        expected = [next(r for r, i in enumerate(row) if other[i] == owner[q]) for q, row in enumerate(order)]
        assert rank_best(queries, gallery, owner, other).tolist() == expected
        assert find_nearest(queries, gallery, 7).tolist() == [row[:7] for row in order]


@pytest.mark.parametrize("width", [64, 256, 768])
def test_captions_of_the_same_words_are_ranked_as_they_come(chunks, width):
    """Products of the same two vectors differ in the last digit, with the shape of what they are part of."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(37 + 50, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery, queries = vectors[:37], vectors[37:]
    gallery[[5, 20, 36]] = queries[0]  # the nearest of all, three times
    queries[:] = queries[0]
    owners = np.arange(37)
    assert set(rank_best(queries, gallery, np.full(50, 36), owners)) == {2.0}
    assert {tuple(row) for row in find_nearest(queries, gallery, 3)} == {(5, 20, 36)}


def test_what_is_not_a_number_has_no_rank(chunks, embeddings):
    images, texts, owners = embeddings
    images[3] = np.nan
    text_rank = rank_best(images, texts, np.arange(40), owners)
    image_rank = rank_best(texts, images, owners, np.arange(40))
    assert np.isnan(text_rank).nonzero()[0].tolist() == [3]
    assert np.isnan(image_rank).all()
    assert find_nearest(texts, images, 5).shape == (len(texts), 5)
    assert all(np.isnan(value) for value in recalls(text_rank, image_rank).values())


def test_a_new_order_of_the_nearest_changes_ranks_among_them_alone():
    rank = np.array([1.0, 6.0, np.nan])
    nearest = np.array([[3, 0, 2], [1, 2, 3], [0, 1, 2]])
    owners = np.array([0, 9, 9, 9, 1])
    after = rank_reordered(rank, nearest[:, ::-1], np.array([0, 1, 0]), owners)
    assert after.tolist()[:2] == [1.0, 6.0]
    assert np.isnan(after[2])
    assert rank_reordered(rank, nearest[:, [1, 0, 2]], np.array([0, 1, 0]), owners)[0] == 0


def test_recalls_are_shares_of_queries():
    found = recalls(np.array([0, 4, 9, 10]), np.array([0, 0]))
    assert [found[f"text_recall_at_{k}"] for k in (1, 5, 10)] == [0.25, 0.5, 0.75]
    assert found["mean_recall"] == pytest.approx((0.25 + 0.5 + 0.75 + 3) / 6)
