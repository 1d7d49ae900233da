"""EveForPreTraining: the encoder with the heads that predict masked patches and masked tokens."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.alignment import Alignment
from eve_core.model.checks import check_image_ids, check_patches, check_texts, check_token_mask, refuse
from eve_core.model.configuration import EveConfig
from eve_core.model.decoder import PixelDecoder
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.outputs import EveForPreTrainingOutput, EveModelOutput, ExpertUse


class TokenPredictor(nn.Module):
    """Two-layer perceptron over the vocabulary (paper, masked language modelling)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, vocab_size)."""
        return self.output(self.norm(F.gelu(self.dense(hidden))))


class PatchPredictor(nn.Module):
    """A linear layer to pixels, where mask tokens went through the encoder."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        self.prediction = nn.Linear(config.hidden_size, config.patch_dim)

    def forward(self, vision: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """(B, 1 + P, D) and (B, M) indices of masked patches -> (B, M, patch_dim)."""
        return self.prediction(vision[:, 1:].gather(1, masked.unsqueeze(-1).expand(-1, -1, vision.shape[-1])))


class EveForPreTraining(EvePreTrainedModel):
    """Masked signal modelling, and the contrastive and matching tasks that the paper compares it with.

    `config.pretraining_tasks` says which heads there are and which encoder passes a step takes: mim one over the
    visible patches and the whole text, mlm one over the whole picture and the masked text (`joint_masking`: both in
    one), itc one over each modality alone, itm one over pairs and hard negatives.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        tasks = config.pretraining_tasks
        self.backbone = EveModel(config)
        if "mim" in tasks:
            self.pixel_decoder = PatchPredictor(config) if config.mask_tokens_in_encoder else PixelDecoder(config)
        if "mlm" in tasks:
            self.token_predictor = TokenPredictor(config)
        if "itc" in tasks:
            self.alignment = Alignment(config, matching="itm" in tasks)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        visible_patches: torch.Tensor | None = None,
        masked_patches: torch.Tensor | None = None,
        masked_input_ids: torch.Tensor | None = None,
        token_mask: torch.Tensor | None = None,
        image_ids: torch.Tensor | None = None,
    ) -> EveForPreTrainingOutput:
        """Predict what was masked; align what was not.

        Args:
            pixel_values: (B, 3, H, W).
            input_ids: (B, L) the whole text.
            attention_mask: (B, L), 0 for padding; all tokens count when it is not given.
            visible_patches: (B, P') indices of the patches that the image-masked pass sees (mim).
            masked_patches: (B, M) indices of the patches that it predicts (mim).
            masked_input_ids: (B, L) the text with [MASK] in the masked places (mlm).
            token_mask: (B, L) bool, the masked places (mlm).
            image_ids: (B,) integers; equal ids mark captions of one picture (itc).

        Returns:
            Predictions, and the losses of itc and itm.

        Raises:
            ValueError: an input that one of the tasks needs is missing, or shapes or values do not fit.
        """
        given = dict(locals())
        tasks = self.config.pretraining_tasks
        for task, needed in _NEEDED.items():
            missing = [name for name in needed if given[name] is None] if task in tasks else []
            if missing:
                raise ValueError(f"{task} is one of pretraining_tasks and needs {', '.join(missing)}")

        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        # What is predicted; what is encoded the backbone checks. Read at once, for it waits for the device.
        doubts = []
        if visible_patches is not None and masked_patches is not None and "mim" in tasks:
            num_patches = pixel_values.shape[-2:].numel() // self.config.patch_size**2
            doubts += check_patches("visible_patches", visible_patches, len(pixel_values), num_patches)
            doubts += check_patches("masked_patches", masked_patches, len(pixel_values), num_patches)
            seen = (masked_patches[:, :, None] == visible_patches[:, None]).any()
            doubts.append((seen, "masked_patches and visible_patches have patches in common"))
        if token_mask is not None and "mlm" in tasks:
            doubts += check_texts(input_ids, attention_mask, self.config) + check_token_mask(token_mask, attention_mask)
        if doubts:
            refuse(doubts)
        output = EveForPreTrainingOutput()
        passes: list[Any] = []
        if "mim" in tasks:
            assert visible_patches is not None
            assert masked_patches is not None
            text = masked_input_ids if self.config.joint_masking else input_ids
            patches = (None, masked_patches) if self.config.mask_tokens_in_encoder else (visible_patches, None)
            passes.append(self.backbone(pixel_values, text, attention_mask, *patches))
            output.patch_predictions = self._predict_patches(passes[-1], pixel_values, visible_patches, masked_patches)
        if "mlm" in tasks:
            assert token_mask is not None
            if not self.config.joint_masking:
                passes.append(self.backbone(pixel_values, masked_input_ids, attention_mask))
            output.routing = passes[-1].routing
            output.token_logits = self.token_predictor(passes[-1].text_hidden_state[token_mask])
        if "itc" in tasks:
            assert image_ids is not None
            check_image_ids(image_ids, len(pixel_values))
            vision = self.backbone(pixel_values=pixel_values)
            text = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
            passes += [vision, text]
            embeds = (
                self.alignment.embed_vision(vision.vision_hidden_state),
                self.alignment.embed_text(text.text_hidden_state),
            )
            losses = self.alignment.losses(self.backbone, embeds, pixel_values, input_ids, attention_mask, image_ids)
            output.itc_loss, output.itm_loss = losses.itc, losses.itm
            passes += [] if losses.fused is None else [losses.fused]
        output.expert_use = ExpertUse.joined([encoded.expert_use for encoded in passes])
        output.load_balance_loss = output.expert_use.load_balance_loss()
        if output.routing is None:
            output.routing = passes[0].routing
        return output

    def _predict_patches(
        self,
        encoded: EveModelOutput,
        pixel_values: torch.Tensor,
        visible: torch.Tensor,
        masked: torch.Tensor,
    ) -> torch.Tensor:
        vision = encoded.vision_hidden_state
        if self.config.mask_tokens_in_encoder:
            return self.pixel_decoder(vision, masked)
        size = self.config.patch_size
        grid = (pixel_values.shape[-2] // size, pixel_values.shape[-1] // size)
        return self.pixel_decoder(vision, visible, masked, grid)


_NEEDED = {
    "mim": ("visible_patches", "masked_patches"),
    "mlm": ("masked_input_ids", "token_mask"),
    "itc": ("image_ids",),
}
