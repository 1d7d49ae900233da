"""Arithmetic of the network, counted from its sizes."""

from eve_core.model import EveConfig


def encoder_flops(config: EveConfig, num_text: int, num_patches: int | None = None) -> float:
    """Floating-point operations of one pair through the encoder, forward and backward.

    Matrix products alone, two operations a multiplication: patch projection; in every block the projections of
    attention (D -> 3 D and D -> D), its scores and its weighted sums; the feed-forward network of each token's modality
    in hard-router blocks; the gate and K experts a token in soft-router blocks. The backward pass takes two products
    for each of the forward pass, so the sum counts three times.

    Args:
        config: sizes.
        num_text: L, text tokens.
        num_patches: patches that are encoded; all of the picture when not given.
    """
    patches = config.num_patches if num_patches is None else num_patches
    tokens, width, inner = 1 + patches + num_text, config.hidden_size, config.intermediate_size
    projections = 2 * tokens * 4 * width**2
    attention = 2 * 2 * tokens**2 * width
    feed_forward = 2 * tokens * 2 * width * inner
    gate = 2 * tokens * width * config.num_experts
    soft = config.ffn_types.count("soft")
    forward = (
        2 * config.num_patches * config.patch_dim * width
        + config.num_hidden_layers * (projections + attention)
        + (config.num_hidden_layers - soft) * feed_forward
        + soft * (gate + config.num_experts_per_token * feed_forward)
    )
    return 3.0 * forward
