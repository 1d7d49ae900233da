"""The downstream models: question answering, visual reasoning over two pictures, image-text retrieval."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.alignment import Alignment
from eve_core.model.checks import check_image_ids, check_texts
from eve_core.model.configuration import EveConfig
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.outputs import EveRetrievalOutput, ExpertUse, ImageTextClassifierOutput


class ClassificationHead(nn.Module):
    """Linear -> LayerNorm -> GELU -> Linear, twice the encoder's width in between."""

    def __init__(self, config: EveConfig, inputs: int, classes: int) -> None:
        super().__init__()
        width = 2 * config.hidden_size
        self.dense = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, inputs) -> (B, classes)."""
        return self.output(F.gelu(self.norm(self.dense(pooled))))


class EveForVisualQuestionAnswering(EvePreTrainedModel):
    """Answers by classification over the answers in `config.id2label`, from the text's class token."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
        self.head = ClassificationHead(config, config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> ImageTextClassifierOutput:
        """Score the answers.

        Args:
            pixel_values: (B, 3, H, W).
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding.
            labels: (B, num_labels) soft targets between 0 and 1.

        Returns:
            Logits (B, num_labels); the loss is binary cross-entropy, summed over answers and averaged over questions.
        """
        encoded = self.backbone(pixel_values, input_ids, attention_mask)
        logits = self.head(encoded.text_hidden_state[:, 0])
        loss = None
        if labels is not None:
            loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float()) * logits.shape[-1]
        return ImageTextClassifierOutput(
            loss=loss, logits=logits, load_balance_loss=encoded.load_balance_loss, expert_use=encoded.expert_use
        )


class BiAttentionHead(nn.Module):
    """NLVR2: each picture's sequence attends to the other's, both are pooled, a linear layer judges (official code).

    Sequences are vision and text tokens of one picture with the statement.
    """

    def __init__(self, config: EveConfig) -> None:
        super().__init__()
        width, heads, rate = config.hidden_size, config.num_attention_heads, 0.1
        self.left_to_right = nn.MultiheadAttention(width, heads, dropout=rate, batch_first=True)
        self.right_to_left = nn.MultiheadAttention(width, heads, dropout=rate, batch_first=True)
        self.fuse = nn.Linear(2 * width, width)
        self.pool = nn.Linear(width, 1)
        self.dropout = nn.Dropout(rate)
        self.output = nn.Linear(2 * width, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Judge.

        Args:
            left: (B, N, D) the left picture with the statement.
            right: (B, N, D) the right one.
            real: (B, N) bool, False for padding, of both.

        Returns:
            (B, 2).
        """
        padding = ~real
        from_right = self.left_to_right(left, right, right, key_padding_mask=padding, need_weights=False)[0]
        from_left = self.right_to_left(right, left, left, key_padding_mask=padding, need_weights=False)[0]
        sides = ((from_right, left), (from_left, right))
        return self.output(torch.cat([self._pooled(attended, own, real) for attended, own in sides], dim=-1))

    def _pooled(self, attended: torch.Tensor, own: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """(B, N, D), (B, N, D), (B, N) -> (B, D)."""
        fused = self.dropout(F.relu(self.fuse(torch.cat([attended, own], dim=-1))))
        scores = F.relu(self.pool(fused)).squeeze(-1).float().masked_fill(~real, -1e4)
        weights = self.dropout(scores.softmax(-1)).to(fused.dtype)
        return (weights.unsqueeze(1) @ fused).squeeze(1)


class EveForVisualReasoning(EvePreTrainedModel):
    """NLVR2: is the statement true of the two pictures? A pass each, judged by `config.visual_reasoning_head`."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
        if config.visual_reasoning_head == "bi_attention":
            self.head: nn.Module = BiAttentionHead(config)
        else:
            self.head = ClassificationHead(config, 2 * config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> ImageTextClassifierOutput:
        """Judge the statement.

        Args:
            pixel_values: (B, 2, 3, H, W), left and right.
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding.
            labels: (B,) 1 for true, 0 for false.

        Returns:
            Logits (B, 2) for false and true; the loss is cross-entropy.

        Raises:
            ValueError: not two pictures a statement, or see `EveModel`.
        """
        if pixel_values.dim() != 5 or pixel_values.shape[1] != 2:
            raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}; give (batch, 2, 3, height, width)")
        check_texts(input_ids, attention_mask, self.config)
        if len(input_ids) != len(pixel_values):
            raise ValueError(
                f"pixel_values has {len(pixel_values)} pairs and input_ids {len(input_ids)} texts; give as many"
            )
        left, right, use = self._encode(pixel_values, input_ids, attention_mask)
        if isinstance(self.head, BiAttentionHead):
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            num_vision = left.shape[1] - input_ids.shape[1]
            logits = self.head(left, right, F.pad(mask.bool(), (num_vision, 0), value=True))
        else:
            first_word = left.shape[1] - input_ids.shape[1]
            logits = self.head(torch.cat([left[:, first_word], right[:, first_word]], dim=-1))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels.long())
        return ImageTextClassifierOutput(
            loss=loss, logits=logits, load_balance_loss=use.load_balance_loss(), expert_use=use
        )

    def _encode(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, ExpertUse]:
        """The sequences (B, N, D) of left and right, vision then text, and the experts' use."""
        if self.config.official_routing:  # a batch is what shares the experts' capacity: one picture a pass
            passes = [self.backbone(picture, input_ids, attention_mask) for picture in pixel_values.unbind(1)]
            left, right = (
                torch.cat([encoded.vision_hidden_state, encoded.text_hidden_state], dim=1) for encoded in passes
            )
            return left, right, ExpertUse.joined([encoded.expert_use for encoded in passes])
        # Left and right travel in one batch: twice the rows, one pass.
        encoded = self.backbone(
            pixel_values.transpose(0, 1).flatten(0, 1),
            input_ids.repeat(2, 1),
            None if attention_mask is None else attention_mask.repeat(2, 1),
        )
        left, right = torch.cat([encoded.vision_hidden_state, encoded.text_hidden_state], dim=1).chunk(2)
        return left, right, encoded.expert_use


class EveForImageTextRetrieval(EvePreTrainedModel):
    """Retrieval: a contrastive embedding of each modality (ITC), and a matching score of a pair (ITM)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
        self.alignment = Alignment(config)
        self.post_init()

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D), unit length."""
        return self.alignment.embed_vision(self.backbone(pixel_values=pixel_values).vision_hidden_state)

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L) -> (B, D), unit length."""
        encoded = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        return self.alignment.embed_text(encoded.text_hidden_state)

    def match(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Matching logits (B, 2) of picture-text pairs; [:, 1] speaks for a match."""
        return self.alignment.match(self.backbone(pixel_values, input_ids, attention_mask).text_hidden_state)

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        image_ids: torch.Tensor | None = None,
    ) -> EveRetrievalOutput:
        """Embed pairs, and with `image_ids` the loss ITC + ITM with hard negatives from the batch.

        Args:
            pixel_values: (B, 3, H, W).
            input_ids: (B, L), the caption of each picture.
            attention_mask: (B, L), 0 for padding.
            image_ids: (B,) integers; equal ids mark captions of one picture, which are positives of each other.

        Returns:
            Embeddings, and the losses.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        vision = self.backbone(pixel_values=pixel_values)
        text = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        image_embeds = self.alignment.embed_vision(vision.vision_hidden_state)
        text_embeds = self.alignment.embed_text(text.text_hidden_state)
        if image_ids is None:
            return EveRetrievalOutput(image_embeds=image_embeds, text_embeds=text_embeds)

        embeds = (image_embeds, text_embeds)
        check_image_ids(image_ids, len(pixel_values))
        losses = self.alignment.losses(self.backbone, embeds, pixel_values, input_ids, attention_mask, image_ids)
        assert losses.itm is not None
        assert losses.fused is not None
        passes: list[Any] = [vision, text, losses.fused]
        use = ExpertUse.joined([encoded.expert_use for encoded in passes])
        return EveRetrievalOutput(
            loss=losses.itc + losses.itm,
            itc_loss=losses.itc,
            itm_loss=losses.itm,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            load_balance_loss=use.load_balance_loss(),
            expert_use=use,
        )
