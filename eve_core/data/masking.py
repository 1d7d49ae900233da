"""Which patches and tokens are masked: exact numbers, drawn by a generator of the caller's."""

import numpy as np


def mask_patches(num_patches: int, ratio: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Split the patches into visible and masked ones, uniformly at random.

    Args:
        num_patches: P.
        ratio: share that is masked; round(ratio * P) patches are, at least one on either side.
        generator: source of the draw.

    Returns:
        Sorted indices (int64) of the visible and of the masked patches.

    Raises:
        ValueError: fewer than two patches, of which none could be masked and one seen.
    """
    if num_patches < 2:
        raise ValueError(f"num_patches is {num_patches}; masking needs at least 2")
    masked = min(max(round(ratio * num_patches), 1), num_patches - 1)
    order = generator.permutation(num_patches)
    return np.sort(order[masked:]), np.sort(order[:masked])


def mask_tokens(maskable: np.ndarray, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """Choose the text tokens to mask, uniformly at random.

    Args:
        maskable: (L,) bool, False for special tokens and padding.
        ratio: share of the maskable tokens that is masked; round(ratio * count), at least one.
        generator: source of the draw.

    Returns:
        (L,) bool.

    Raises:
        ValueError: no token may be masked.
    """
    places = np.flatnonzero(maskable)
    if not len(places):
        raise ValueError(f"maskable of shape {maskable.shape} is False throughout; masking needs at least one token")
    mask = np.zeros(len(maskable), dtype=bool)
    mask[generator.choice(places, size=max(round(ratio * len(places)), 1), replace=False)] = True
    return mask
