"""Arithmetic of the network, counted from its sizes."""

from eve_core.model.configuration import EveConfig


def encoder_flops(config: EveConfig, num_text: float, num_patches: int | None = None) -> float:
    """Floating-point operations of one pair through the encoder, forward and backward.

    Matrix products alone, two operations a multiplication: patch projection; in every block the projections of
    attention (D -> 3 D and D -> D), its scores and its weighted sums; the feed-forward network of each token's modality
    in hard-router blocks; the gate and K experts a token in soft-router blocks. The backward pass takes two products
    for each of the forward pass, so the sum counts three times.

    Args:
        config: sizes.
        num_text: L, text tokens.
        num_patches: patches that are encoded; all of the picture when not given, no picture when 0.
    """
    patches = config.num_patches if num_patches is None else num_patches
    tokens = (1 + patches if patches else 0) + num_text
    width, inner = config.hidden_size, config.intermediate_size
    projections = 2 * tokens * 4 * width**2
    attention = 2 * 2 * tokens**2 * width
    feed_forward = 2 * tokens * 2 * width * inner
    gate = 2 * tokens * width * config.num_experts
    soft = config.ffn_types.count("soft")
    forward = (
        2 * (config.num_patches if patches else 0) * config.patch_dim * width
        + config.num_hidden_layers * (projections + attention)
        + (config.num_hidden_layers - soft) * feed_forward
        + soft * (gate + config.num_experts_per_token * feed_forward)
    )
    return 3.0 * forward


def pretraining_flops(config: EveConfig, num_text: float, image_mask_ratio: float, text_mask_ratio: float) -> float:
    """Floating-point operations of one pair in a step of `config.pretraining_tasks`, forward and backward.

    Args:
        config: sizes and tasks.
        num_text: text tokens, on average, specials included.
        image_mask_ratio: share of the patches that is predicted.
        text_mask_ratio: share of the words that is predicted.
    """
    tasks, total = config.pretraining_tasks, 0.0
    if "mim" in tasks:
        visible = config.num_patches - round(image_mask_ratio * config.num_patches)
        total += encoder_flops(config, num_text, None if config.mask_tokens_in_encoder else visible)
        total += 3.0 * _prediction_of_patches(config)
    if "mlm" in tasks:
        total += 0.0 if config.joint_masking else encoder_flops(config, num_text)
        words = text_mask_ratio * (num_text - 2)
        total += 3.0 * 2 * words * config.hidden_size * (config.hidden_size + config.vocab_size)
    if "itc" in tasks:
        total += encoder_flops(config, 0) + encoder_flops(config, num_text, 0)
    if "itm" in tasks:  # the pair, and a hard negative for either side
        total += 3 * encoder_flops(config, num_text)
    return total


def finetuning_flops(config: EveConfig, task: str, num_text: float) -> float:
    """Floating-point operations of one example of a downstream task in a step, forward and backward; heads left out.

    Args:
        config: sizes.
        task: vqa, nlvr2 (two pictures with the text) or retrieval (each alone, and three pairs together).
        num_text: text tokens, on average.
    """
    together = encoder_flops(config, num_text)
    if task == "retrieval":
        return encoder_flops(config, 0) + encoder_flops(config, num_text, 0) + 3 * together
    return 2 * together if task == "nlvr2" else together


def _prediction_of_patches(config: EveConfig) -> float:
    if config.mask_tokens_in_encoder:
        return 2.0 * config.num_patches * config.hidden_size * config.patch_dim
    places, width = 1 + config.num_patches, config.decoder_hidden_size
    decoder = config.decoder_num_layers * (2 * places * 12 * width**2 + 4 * places**2 * width)
    return decoder + 2.0 * config.num_patches * width * config.patch_dim
