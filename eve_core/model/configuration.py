"""Sizes and choices of an EVE network."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

NAMED_SIZES: dict[str, dict[str, Any]] = {
    # For two processor cores: a demonstration, and tests.
    "tiny": {
        "image_size": 64,
        "vocab_size": 2000,
        "max_text_length": 40,
        "num_hidden_layers": 4,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "num_soft_router_layers": 2,
        "num_experts": 8,
        # A narrow network that is trained for minutes needs larger initial weights and branches at full strength.
        "initializer_range": 0.1,
        "layer_scale_init": 1.0,
        "decoder_num_layers": 2,
        "decoder_hidden_size": 128,
        "decoder_num_attention_heads": 4,
        "drop_path_rate": 0.0,
    },
    # The paper's two sizes.
    "base": {},
    "large": {
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "num_soft_router_layers": 3,
    },
}


_COUNTS = (
    "vocab_size",
    "max_text_length",
    "image_size",
    "patch_size",
    "num_channels",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "num_experts",
    "decoder_hidden_size",
    "decoder_num_attention_heads",
)
_CHOICES = {
    "hidden_act": ("quick_gelu", "gelu"),
    "experts_backend": ("auto", "grouped_mm", "loop"),
    "visual_reasoning_head": ("plain", "bi_attention"),
}


class EveConfig(PreTrainedConfig):
    """Configuration of an EVE network; the defaults are EVE-Base (paper, Experiments; sizes from the official code).

    Args:
        vocab_size: entries of the tokenizer.
        max_text_length: rows of the text position table.
        image_size: side of the square picture in pixels.
        patch_size: side of a patch in pixels; divides image_size.
        num_channels: 3 for RGB.
        hidden_size: D.
        num_hidden_layers: blocks.
        num_attention_heads: heads; divides hidden_size.
        intermediate_size: F, of every feed-forward network and expert.
        hidden_act: quick_gelu, as the official configurations have it, or gelu, as BEiT v2, where the paper starts.
        num_soft_router_layers: how many of the top blocks route their tokens among experts; the blocks below send
            vision tokens to one feed-forward network and text tokens to another (hard router).
        ffn_types: the same block by block, from the first to the last, where that is not enough: each hard, soft or
            shared (one feed-forward network for all tokens). It replaces num_soft_router_layers.
        modality_norms: in hard-router blocks, a LayerNorm a modality before its feed-forward network (official code),
            not one for both (the paper mentions none).
        embedding_norms: LayerNorm on the word embeddings and on the whole sequence before the first block (official
            code); eq. 1 to 3 have neither.
        num_experts: E.
        num_experts_per_token: K.
        modality_routing: add the modality embedding to the router's input (eq. 6); without it, the paper's ablation.
        renormalize_gates: divide the K gate values of a token by their sum. The official code does; eq. 5 does not.
            With one expert a token the value itself is the weight: divided by itself it would teach the router nothing.
        experts_see_modality: add the modality embedding to the experts' input as well as to the router's. The
            official code does; eq. 6 adds it for routing alone.
        official_routing: route as the official code does, for parity with it alone: padding is routed and counted, and
            an expert takes max(4, ceil(2 capacity_factor T / E)) tokens of a batch; a token that finds both its
            experts full skips the feed-forward network. A sample's output then depends on its batch mates.
        capacity_factor: of official_routing.
        second_expert_noise: choose the second expert by logits plus Gumbel noise. The official code does, in
            evaluation too.
        experts_backend: how the experts are computed: grouped_mm (one grouped product), loop (one expert after the
            other, faster on a processor), or auto, the faster one for the device.
        layer_scale_init: initial LayerScale of both branches of a block.
        drop_path_rate: stochastic depth, rising linearly from 0 in the first block to this in the last.
        text_dropout: dropout on the word embeddings.
        layer_norm_eps: of every LayerNorm in the backbone.
        initializer_range: standard deviation of the truncated normal (cut at one) that weights are drawn from.
        visual_reasoning_head: for NLVR2, plain (both passes' text class tokens) or bi_attention (each picture's
            sequence attends to the other's).
        pretraining_tasks: of mlm, mim, itc and itm; the paper's own are mlm and mim.
        joint_masking: mask picture and text in one encoder pass instead of one each (the paper's ablation).
        mask_tokens_in_encoder: put a mask token in the place of masked patches and encode them, instead of leaving them
            out and adding them in the decoder (the paper compares with it); a linear layer then predicts the pixels.
        decoder_num_layers: blocks of the pixel decoder. The paper says "multiple" and "narrower" and gives no sizes;
            these are ours: a decoder of 8 x 512, as in MAE, costs as much as two thirds of the masked encoder pass.
        decoder_hidden_size: its width.
        decoder_num_attention_heads: its heads.
        normalize_pixel_targets: predict each patch with its own mean and variance removed instead of raw pixels.
        temperature_init: initial temperature of the contrastive loss.
        pad_token_id: padding in texts.
        kwargs: fields of every configuration; `id2label` names the answers of the question-answering head.

    Raises:
        ValueError: sizes that do not divide, or counts out of range.
    """

    model_type = "eve"

    def __init__(
        self,
        vocab_size: int = 64000,
        max_text_length: int = 196,
        image_size: int = 224,
        patch_size: int = 16,
        num_channels: int = 3,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: str = "quick_gelu",
        num_soft_router_layers: int = 2,
        ffn_types: list[str] | None = None,
        modality_norms: bool = True,
        embedding_norms: bool = True,
        num_experts: int = 32,
        num_experts_per_token: int = 2,
        modality_routing: bool = True,
        renormalize_gates: bool = True,
        experts_see_modality: bool = True,
        official_routing: bool = False,
        capacity_factor: float = 1.0,
        second_expert_noise: bool = False,
        experts_backend: str = "auto",
        layer_scale_init: float = 0.1,
        drop_path_rate: float = 0.1,
        text_dropout: float = 0.1,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        visual_reasoning_head: str = "plain",
        pretraining_tasks: Sequence[str] = ("mlm", "mim"),
        joint_masking: bool = False,
        mask_tokens_in_encoder: bool = False,
        decoder_num_layers: int = 4,
        decoder_hidden_size: int = 384,
        decoder_num_attention_heads: int = 6,
        normalize_pixel_targets: bool = False,
        temperature_init: float = 0.07,
        pad_token_id: int = 0,
        **kwargs: Any,
    ) -> None:
        for name, value in list(locals().items()):
            if name not in ("self", "kwargs", "__class__"):
                setattr(self, name, value)
        for name in _COUNTS:
            value = getattr(self, name)
            _require(isinstance(value, int) and value >= 1, f"{name} {value} is not a whole number of 1 or more")
        _require(decoder_num_layers >= 0, f"decoder_num_layers {decoder_num_layers} is below 0")
        for name in ("drop_path_rate", "text_dropout"):
            _require(0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)} is not from 0 to below 1")
        _require(temperature_init > 0, f"temperature_init {temperature_init} is not above 0")
        _require(image_size % patch_size == 0, f"image_size {image_size} is no multiple of patch_size {patch_size}")
        _require(
            hidden_size % num_attention_heads == 0,
            f"hidden_size {hidden_size} is no multiple of num_attention_heads {num_attention_heads}",
        )
        _require(
            decoder_hidden_size % decoder_num_attention_heads == 0,
            f"decoder_hidden_size {decoder_hidden_size} is no multiple of "
            f"decoder_num_attention_heads {decoder_num_attention_heads}",
        )
        self.pretraining_tasks = [*pretraining_tasks]
        _require(
            bool(self.pretraining_tasks) and {*self.pretraining_tasks} <= {"mlm", "mim", "itc", "itm"},
            f"pretraining_tasks {self.pretraining_tasks} are not one or more of mlm, mim, itc, itm",
        )
        _require(
            "itm" not in self.pretraining_tasks or "itc" in self.pretraining_tasks,
            "pretraining_tasks has itm without itc, whose similarities choose its hard negatives; add itc",
        )
        _require(
            not mask_tokens_in_encoder or "mim" in self.pretraining_tasks,
            f"mask_tokens_in_encoder needs mim; pretraining_tasks are {self.pretraining_tasks}",
        )
        _require(
            not joint_masking or {"mlm", "mim"} <= {*self.pretraining_tasks},
            f"joint_masking needs mlm and mim; pretraining_tasks are {self.pretraining_tasks}",
        )
        _require(
            ffn_types is not None or 0 <= num_soft_router_layers <= num_hidden_layers,
            f"num_soft_router_layers {num_soft_router_layers} is not between 0 and {num_hidden_layers}",
        )
        soft = num_soft_router_layers
        self.ffn_types = ["hard"] * (num_hidden_layers - soft) + ["soft"] * soft if ffn_types is None else [*ffn_types]
        self.num_soft_router_layers = self.ffn_types.count("soft")
        _require(
            len(self.ffn_types) == num_hidden_layers and {*self.ffn_types} <= {"hard", "soft", "shared"},
            f"ffn_types {self.ffn_types} is not {num_hidden_layers} times hard, soft or shared",
        )
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            _require(value in allowed, f"{name} {value!r} is not one of {', '.join(allowed)}")
        for option in ("official_routing", "second_expert_noise"):
            _require(
                not getattr(self, option) or num_experts_per_token == 2,
                f"{option} knows 2 experts a token only, not num_experts_per_token {num_experts_per_token}",
            )
        _require(
            experts_backend != "loop" or hidden_act == "quick_gelu",
            f"experts_backend loop knows quick_gelu only, not hidden_act {hidden_act}; choose auto or grouped_mm",
        )
        _require(
            1 <= num_experts_per_token <= num_experts,
            f"num_experts_per_token {num_experts_per_token} is not between 1 and num_experts {num_experts}",
        )
        super().__init__(**kwargs)

    @classmethod
    def named(cls, size: str, **overrides: Any) -> "EveConfig":
        """The configuration of a named size, tiny, base or large, with `overrides`.

        Raises:
            ValueError: an unknown size or an unknown field.
        """
        _require(size in NAMED_SIZES, f"unknown size {size}; known are {', '.join(NAMED_SIZES)}")
        unknown = sorted(set(overrides) - {*cls().to_dict(), "num_labels"})
        _require(not unknown, f"EveConfig has no field {', '.join(unknown)}")
        return cls(**{**NAMED_SIZES[size], **overrides})

    @property
    def num_patches(self) -> int:
        """P at the configured image size."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def patch_dim(self) -> int:
        """Values in one patch."""
        return int(self.patch_size**2 * self.num_channels)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
