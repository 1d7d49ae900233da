"""EveModel: one encoder for a picture and a text, a picture alone, or a text alone."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from eve_core.model.alignment import Alignment
from eve_core.model.attention import SelfAttention
from eve_core.model.checks import check_patches, check_pictures, check_texts, refuse
from eve_core.model.configuration import EveConfig
from eve_core.model.decoder import PixelDecoder
from eve_core.model.embeddings import TextEmbeddings, VisionEmbeddings, interpolate_positions
from eve_core.model.encoder import EncoderBlock
from eve_core.model.experts import Experts
from eve_core.model.outputs import EveModelOutput, ExpertUse
from eve_core.model.sequence import TokenLayout
from eve_core.model.soft_router import SoftRouter


class EvePreTrainedModel(PreTrainedModel):
    """What all EVE models share: configuration class, names, initialisation."""

    config_class = EveConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["EncoderBlock", "DecoderBlock"]  # noqa: RUF012 (the base class declares it so)

    @torch.no_grad()
    def resize_images(self, image_size: int) -> None:
        """Make `image_size` the size of the pictures: every table of patch positions is interpolated, for good.

        Raises:
            ValueError: image_size is no multiple of the patch size.
        """
        if image_size < self.config.patch_size or image_size % self.config.patch_size:
            raise ValueError(f"image_size {image_size} is no multiple of patch_size {self.config.patch_size}")
        side = image_size // self.config.patch_size
        for module in self.modules():
            if isinstance(module, VisionEmbeddings | PixelDecoder):
                table = interpolate_positions(module.position_embeddings.data, side, side)
                module.position_embeddings = nn.Parameter(table.clone())
        self.config.image_size = image_size

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Truncated normal cut at one standard deviation for weights and tables, zero biases (official code)."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.trunc_normal_(module.weight, std=std, a=-std, b=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=std)
        elif isinstance(module, Experts):
            for name, parameter in module.named_parameters():
                if name.endswith("bias"):
                    init.zeros_(parameter)
                else:
                    init.trunc_normal_(parameter, std=std, a=-std, b=std)
        elif isinstance(module, SelfAttention):
            init.zeros_(module.q_bias)
            init.zeros_(module.v_bias)
        elif isinstance(module, EncoderBlock):
            init.constant_(module.gamma_1, self.config.layer_scale_init)
            init.constant_(module.gamma_2, self.config.layer_scale_init)
        elif isinstance(module, Alignment):
            init.constant_(module.temperature, self.config.temperature_init)
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, VisionEmbeddings | TextEmbeddings | SoftRouter | PixelDecoder):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=std, a=-std, b=std)


class EveModel(EvePreTrainedModel):
    """The encoder, final LayerNorm included."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.vision_embeddings = VisionEmbeddings(config)
        self.text_embeddings = TextEmbeddings(config)
        self.pre_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.embedding_norms else nn.Identity()
        )
        self.blocks = nn.ModuleList(EncoderBlock(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        visible_patches: torch.Tensor | None = None,
        masked_patches: torch.Tensor | None = None,
    ) -> EveModelOutput:
        """Encode a picture, a text or both (vision tokens first, paper eq. 3).

        Args:
            pixel_values: (B, 3, H, W), both sides multiples of the patch size.
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding; all tokens count when it is not given.
            visible_patches: (B, P') indices of the patches to encode; all when not given.
            masked_patches: (B, M) indices of the patches to replace by the mask token; needs mask_tokens_in_encoder.

        Returns:
            Hidden states of both modalities.

        Raises:
            ValueError: neither picture nor text, or shapes or values that do not fit the model.
        """
        self._check(pixel_values, input_ids, attention_mask, visible_patches, masked_patches)
        spans, real = [], []
        if pixel_values is not None:
            spans.append(self.vision_embeddings(pixel_values, visible_patches, masked_patches))
            real.append(torch.ones(spans[0].shape[:2], dtype=torch.bool, device=spans[0].device))
        if input_ids is not None:
            spans.append(self.text_embeddings(input_ids))
            real.append(torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool())
        num_vision = spans[0].shape[1] if pixel_values is not None else 0
        hidden = self.pre_norm(torch.cat([span.to(spans[-1].dtype) for span in spans], dim=1))
        tokens = torch.cat(real, dim=1)
        layout = TokenLayout(num_vision, tokens, padded=torch.compiler.is_compiling() or not bool(tokens.all()))

        routing = []
        for block in self.blocks:
            hidden, spread = block(hidden, layout)
            if spread is not None:
                routing.append(spread)
        hidden = self.norm(hidden)
        none = hidden.new_zeros(0, self.config.num_experts, dtype=torch.float32)
        unused = ExpertUse(first_choices=none, probability_sums=none)
        use = ExpertUse.joined([unused, *(spread.use for spread in routing)])
        return EveModelOutput(
            vision_hidden_state=hidden[:, :num_vision] if pixel_values is not None else None,
            text_hidden_state=hidden[:, num_vision:] if input_ids is not None else None,
            load_balance_loss=use.load_balance_loss(),
            expert_use=use,
            routing=tuple(routing),
        )

    def _check(
        self,
        pixel_values: torch.Tensor | None,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        visible_patches: torch.Tensor | None,
        masked_patches: torch.Tensor | None,
    ) -> None:
        if pixel_values is None and input_ids is None:
            raise ValueError("give pixel_values, input_ids or both")
        if masked_patches is not None and not self.config.mask_tokens_in_encoder:
            raise ValueError(
                "masked_patches are for a model with mask_tokens_in_encoder; give visible_patches, those that remain"
            )
        doubts = []
        if pixel_values is not None:
            doubts += check_pictures(pixel_values, self.config)
            num_patches = pixel_values.shape[-2:].numel() // self.config.patch_size**2
            for name, indices in (("visible_patches", visible_patches), ("masked_patches", masked_patches)):
                if indices is not None:
                    doubts += check_patches(name, indices, len(pixel_values), num_patches)
        if input_ids is not None:
            doubts += check_texts(input_ids, attention_mask, self.config)
        if pixel_values is not None and input_ids is not None and len(pixel_values) != len(input_ids):
            raise ValueError(
                f"pixel_values has {len(pixel_values)} pictures and input_ids {len(input_ids)} texts; give as many"
            )
        refuse(doubts)
