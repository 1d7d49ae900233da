"""EveModel: one encoder for a picture and a text, a picture alone, or a text alone."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from eve_core.model.attention import SelfAttention
from eve_core.model.configuration import EveConfig
from eve_core.model.decoder import PixelDecoder
from eve_core.model.embeddings import TextEmbeddings, VisionEmbeddings
from eve_core.model.encoder import EncoderBlock
from eve_core.model.experts import Experts
from eve_core.model.outputs import EveModelOutput
from eve_core.model.soft_router import SoftRouter


class EvePreTrainedModel(PreTrainedModel):
    """What all EVE models share: configuration class, names, initialisation."""

    config_class = EveConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = False
    _no_split_modules = ["EncoderBlock", "DecoderBlock"]  # noqa: RUF012 (the base class declares it so)

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
        elif isinstance(module, VisionEmbeddings | TextEmbeddings | SoftRouter | PixelDecoder):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=std, a=-std, b=std)


class EveModel(EvePreTrainedModel):
    """The encoder, final LayerNorm included."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.vision_embeddings = VisionEmbeddings(config)
        self.text_embeddings = TextEmbeddings(config)
        self.pre_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(EncoderBlock(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        visible_patches: torch.Tensor | None = None,
    ) -> EveModelOutput:
        """Encode a picture, a text or both (vision tokens first, paper eq. 3).

        Args:
            pixel_values: (B, 3, image_size, image_size).
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding; all tokens count when it is not given.
            visible_patches: (B, P') indices of the patches to encode; all when not given.

        Returns:
            Hidden states of both modalities.

        Raises:
            ValueError: neither picture nor text, or shapes that do not fit the model.
        """
        if pixel_values is None and input_ids is None:
            raise ValueError("give pixel_values, input_ids or both")
        spans, masks = [], []
        if pixel_values is not None:
            spans.append(self.vision_embeddings(pixel_values, visible_patches))
            masks.append(torch.ones(spans[0].shape[:2], dtype=torch.bool, device=spans[0].device))
        num_vision = spans[0].shape[1] if spans else 0
        if input_ids is not None:
            if attention_mask is not None and attention_mask.shape != input_ids.shape:
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}, input_ids {tuple(input_ids.shape)}"
                )
            spans.append(self.text_embeddings(input_ids))
            if len(spans[0]) != len(spans[-1]):
                raise ValueError(f"there are {len(spans[0])} pictures and {len(spans[-1])} texts; give as many of both")
            masks.append(torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool())
        hidden = self.pre_norm(torch.cat([span.to(spans[-1].dtype) for span in spans], dim=1))
        token_mask = torch.cat(masks, dim=1) if attention_mask is not None and input_ids is not None else None
        is_text = (torch.arange(hidden.shape[1], device=hidden.device) >= num_vision).expand(hidden.shape[:2])

        routing = []
        for block in self.blocks:
            hidden, spread = block(hidden, num_vision, is_text, token_mask)
            if spread is not None:
                routing.append(spread)
        hidden = self.norm(hidden)
        losses = [spread.load_balance_loss for spread in routing]
        return EveModelOutput(
            vision_hidden_state=hidden[:, :num_vision] if pixel_values is not None else None,
            text_hidden_state=hidden[:, num_vision:] if input_ids is not None else None,
            load_balance_loss=torch.stack(losses).mean() if losses else hidden.new_zeros(()),
            routing=tuple(routing),
        )
