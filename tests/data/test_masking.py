"""Masks have exactly the numbers asked for, in the places allowed."""

import numpy as np
import pytest

from eve_core.data.masking import mask_patches, mask_tokens


@pytest.mark.parametrize(("number", "ratio", "masked"), [(196, 0.75, 147), (16, 0.75, 12), (10, 0.5, 5), (9, 0.25, 2)])
def test_exactly_the_share_of_patches_is_masked_and_the_rest_seen(number, ratio, masked):
    for seed in range(20):
        seen, hidden = mask_patches(number, ratio, np.random.default_rng(seed))
        assert len(hidden) == masked
        assert sorted([*seen, *hidden]) == list(range(number))
        assert list(seen) == sorted(seen)
        assert list(hidden) == sorted(hidden)


@pytest.mark.parametrize(("ratio", "masked"), [(0.001, 1), (0.999, 3)])
def test_at_least_one_patch_is_on_either_side(ratio, masked):
    _, hidden = mask_patches(4, ratio, np.random.default_rng(0))
    assert len(hidden) == masked


def test_one_patch_cannot_be_both_seen_and_masked():
    with pytest.raises(ValueError, match=r"num_patches is 1.*at least 2"):
        mask_patches(1, 0.5, np.random.default_rng(0))


def test_every_patch_is_masked_as_often_as_any_other():
    generator = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([mask_patches(16, 0.75, generator)[1] for _ in range(2000)]), minlength=16)
    assert np.all(abs(counts / 2000 - 0.75) < 0.05)


@pytest.mark.parametrize(
    ("maskable", "ratio", "masked"), [(8, 0.5, 4), (5, 0.5, 2), (7, 0.5, 4), (10, 0.15, 2), (3, 0.01, 1)]
)
def test_exactly_the_share_of_maskable_tokens_is_masked(maskable, ratio, masked):
    allowed = np.array([False] + [True] * maskable + [False, False])
    for seed in range(20):
        mask = mask_tokens(allowed, ratio, np.random.default_rng(seed))
        assert mask.sum() == masked
        assert not (mask & ~allowed).any()


@pytest.mark.parametrize("length", [0, 3])
def test_a_text_with_nothing_to_mask_is_refused(length):
    with pytest.raises(ValueError, match=rf"maskable of shape \({length},\) is False throughout.*at least one token"):
        mask_tokens(np.zeros(length, dtype=bool), 0.5, np.random.default_rng(0))


def test_every_maskable_token_is_masked_as_often_as_any_other():
    generator = np.random.default_rng(0)
    allowed = np.array([False, True, True, False, True, True])
    share = np.mean([mask_tokens(allowed, 0.5, generator) for _ in range(2000)], axis=0)
    assert np.all(share[~allowed] == 0)
    assert np.all(abs(share[allowed] - 0.5) < 0.05)


def test_masks_follow_from_the_generator_alone():
    one, again, other = (mask_patches(64, 0.5, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2))
    assert one == again != other
    words = np.ones(64, dtype=bool)
    one, again, other = (mask_tokens(words, 0.5, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert one == again != other
