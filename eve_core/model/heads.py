"""The downstream models: question answering, visual reasoning over two pictures, image-text retrieval."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from eve_core.model.configuration import EveConfig
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.outputs import EveRetrievalOutput, ImageTextClassifierOutput

# Added to the sampling weights of hard negatives, so that none is impossible.
_NEGATIVE_FLOOR = 1e-5


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
            pixel_values: (B, 3, image_size, image_size).
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
        return ImageTextClassifierOutput(loss=loss, logits=logits, load_balance_loss=encoded.load_balance_loss)


class EveForVisualReasoning(EvePreTrainedModel):
    """NLVR2: is the statement true of the two pictures? Two passes, the text's class tokens side by side."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
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
            pixel_values: (B, 2, 3, image_size, image_size), left and right.
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding.
            labels: (B,) 1 for true, 0 for false.

        Returns:
            Logits (B, 2) for false and true; the loss is cross-entropy.

        Raises:
            ValueError: not two pictures a statement.
        """
        if pixel_values.dim() != 5 or pixel_values.shape[1] != 2:
            raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}; give (batch, 2, 3, height, width)")
        # Left and right travel in one batch: twice the rows, one pass.
        encoded = self.backbone(
            pixel_values.transpose(0, 1).flatten(0, 1),
            input_ids.repeat(2, 1),
            None if attention_mask is None else attention_mask.repeat(2, 1),
        )
        left, right = encoded.text_hidden_state[:, 0].chunk(2)
        logits = self.head(torch.cat([left, right], dim=-1))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels.long())
        return ImageTextClassifierOutput(loss=loss, logits=logits, load_balance_loss=encoded.load_balance_loss)


class EveForImageTextRetrieval(EvePreTrainedModel):
    """Retrieval: a contrastive embedding of each modality (ITC), and a matching score of a pair (ITM)."""

    def __init__(self, config: EveConfig) -> None:
        super().__init__(config)
        self.backbone = EveModel(config)
        self.vision_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.text_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.temperature = nn.Parameter(torch.tensor(config.temperature_init))
        self.matching_head = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.temperature, self.config.temperature_init)

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, image_size, image_size) -> (B, D), unit length."""
        return self._project_vision(self.backbone(pixel_values=pixel_values).vision_hidden_state)

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L) -> (B, D), unit length."""
        encoded = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        return self._project_text(encoded.text_hidden_state)

    def match(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Matching logits (B, 2) of picture-text pairs; [:, 1] speaks for a match."""
        encoded = self.backbone(pixel_values, input_ids, attention_mask)
        return self.matching_head(encoded.text_hidden_state[:, 0])

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        image_ids: torch.Tensor | None = None,
    ) -> EveRetrievalOutput:
        """Embed pairs, and with `image_ids` the loss ITC + ITM with hard negatives from the batch.

        Args:
            pixel_values: (B, 3, image_size, image_size).
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
        image_embeds = self._project_vision(vision.vision_hidden_state)
        text_embeds = self._project_text(text.text_hidden_state)
        if image_ids is None:
            return EveRetrievalOutput(image_embeds=image_embeds, text_embeds=text_embeds)

        similarity = image_embeds.float() @ text_embeds.float().T / self.temperature.clamp(0.001, 0.5)
        same = image_ids[:, None] == image_ids[None, :]
        targets = same.float() / same.sum(1, keepdim=True)
        itc_loss = (F.cross_entropy(similarity, targets) + F.cross_entropy(similarity.T, targets)) / 2
        itm_loss, balance = self._matching_loss(pixel_values, input_ids, attention_mask, similarity.detach(), same)
        return EveRetrievalOutput(
            loss=itc_loss + itm_loss,
            itc_loss=itc_loss,
            itm_loss=itm_loss,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            load_balance_loss=(vision.load_balance_loss + text.load_balance_loss + balance) / 3,
        )

    def _matching_loss(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        similarity: torch.Tensor,
        same: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each pair against one hard negative picture a text and one hard negative text a picture."""
        number = len(pixel_values)
        if bool(same.all()):  # a batch of one picture has no negative
            number_of_negatives, image_rows, text_rows = 0, torch.arange(number), torch.arange(number)
        else:
            texts_for_images = _sample_negatives(similarity, same)
            images_for_texts = _sample_negatives(similarity.T, same)
            rows = torch.arange(number, device=similarity.device)
            image_rows = torch.cat([rows, images_for_texts, rows])
            text_rows = torch.cat([rows, rows, texts_for_images])
            number_of_negatives = 2 * number
        encoded = self.backbone(pixel_values[image_rows], input_ids[text_rows], attention_mask[text_rows])
        logits = self.matching_head(encoded.text_hidden_state[:, 0])
        labels = torch.ones(number + number_of_negatives, dtype=torch.long, device=logits.device)
        labels[number:] = 0
        return F.cross_entropy(logits.float(), labels), encoded.load_balance_loss

    def _project_vision(self, vision: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.vision_projection(vision[:, 0]).float(), dim=-1)

    def _project_text(self, text: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.text_projection(text[:, 0]).float(), dim=-1)


def _sample_negatives(similarity: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """For every row one column of another picture, the likelier the more similar: (B, B), (B, B) -> (B,)."""
    weights = (similarity.softmax(1) + _NEGATIVE_FLOOR).masked_fill(same, 0.0)
    # A row whose every column is the same picture keeps its own pair: harmless, and multinomial needs one choice.
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.eye(len(weights), device=weights.device))
    return torch.multinomial(weights, 1).squeeze(1)
