"""EveForPreTraining: the encoder with the heads that predict masked patches and masked tokens."""

import torch
from torch import nn

from eve_core.model.configuration import EveConfig
from eve_core.model.decoder import PixelDecoder
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.outputs import EveForPreTrainingOutput


class TokenPredictor(nn.Module):
    """Two-layer perceptron over the vocabulary (paper, masked language modelling)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, vocab_size)."""
        return self.output(self.norm(nn.functional.gelu(self.dense(hidden))))


class EveForPreTraining(EvePreTrainedModel):
    """Two encoder passes a step: visible patches with the whole text, the whole picture with masked text."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
        self.pixel_decoder = PixelDecoder(config)
        self.token_predictor = TokenPredictor(config)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        visible_patches: torch.Tensor,
        masked_patches: torch.Tensor,
        masked_input_ids: torch.Tensor,
        token_mask: torch.Tensor,
    ) -> EveForPreTrainingOutput:
        """Predict what was masked.

        Args:
            pixel_values: (B, 3, image_size, image_size).
            input_ids: (B, L) the whole text.
            attention_mask: (B, L), 0 for padding.
            visible_patches: (B, P') indices of the patches the image-masked pass sees.
            masked_patches: (B, M) indices of the patches it predicts.
            masked_input_ids: (B, L) the text with [MASK] in the masked places.
            token_mask: (B, L) bool, the masked places.

        Returns:
            Predictions of both passes.
        """
        image_masked = self.backbone(pixel_values, input_ids, attention_mask, visible_patches)
        text_masked = self.backbone(pixel_values, masked_input_ids, attention_mask)
        return EveForPreTrainingOutput(
            patch_predictions=self.pixel_decoder(image_masked.vision_hidden_state, visible_patches, masked_patches),
            token_logits=self.token_predictor(text_masked.text_hidden_state[token_mask]),
            load_balance_loss=(image_masked.load_balance_loss + text_masked.load_balance_loss) / 2,
            routing=text_masked.routing,
        )
