"""What the models return."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class Routing(ModelOutput):
    """How one soft-router block spread its tokens.

    Args:
        first_choices: (E,) how many tokens have each expert as their best, as floating-point numbers.
        probability_sums: (E,) sum of the tokens' gate values; with first_choices, what eq. 7 is made of.
        vision_load: (E,) share of the vision tokens' K choices that each expert got.
        text_load: (E,) the same for text tokens.
        entropy: scalar, mean entropy of the tokens' gate values; 0 certain, 1 all experts alike.
        dead_experts: scalar, how many experts no token of the batch chose.
    """

    first_choices: torch.Tensor | None = None
    probability_sums: torch.Tensor | None = None
    vision_load: torch.Tensor | None = None
    text_load: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    dead_experts: torch.Tensor | None = None


@dataclass
class EveModelOutput(ModelOutput):
    """Final hidden states of the encoder.

    Args:
        vision_hidden_state: (B, V, D), class token first; None without a picture.
        text_hidden_state: (B, L, D), the tokenizer's class token first; None without a text.
        load_balance_loss: scalar, mean over the soft-router blocks, before its weight.
        routing: one entry a soft-router block.
    """

    vision_hidden_state: torch.Tensor | None = None
    text_hidden_state: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    routing: tuple[Routing, ...] | None = None


@dataclass
class EveForPreTrainingOutput(ModelOutput):
    """Predictions of the masked passes and losses of the others; None for what is not among the model's tasks.

    Args:
        patch_predictions: (B, M, patch_dim) pixels of the M masked patches, in the order they were given.
        token_logits: (T, vocab_size), one row a masked token, in row-major order of the mask.
        itc_loss: scalar.
        itm_loss: scalar.
        load_balance_loss: scalar, mean over the encoder passes, before its weight.
        routing: of the text-masked pass; of the first where there is none.
    """

    patch_predictions: torch.Tensor | None = None
    token_logits: torch.Tensor | None = None
    itc_loss: torch.Tensor | None = None
    itm_loss: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    routing: tuple[Routing, ...] | None = None


@dataclass
class ImageTextClassifierOutput(ModelOutput):
    """Output of a classification head on picture and text.

    Args:
        loss: scalar, when labels were given; the load-balance loss is not in it.
        logits: (B, classes).
        load_balance_loss: scalar before its weight.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None


@dataclass
class EveRetrievalOutput(ModelOutput):
    """Output of the retrieval model.

    Args:
        loss: scalar ITC + ITM, when image_ids were given.
        itc_loss: its contrastive part.
        itm_loss: its matching part.
        image_embeds: (B, D), unit length.
        text_embeds: (B, D), unit length.
        load_balance_loss: scalar before its weight.
    """

    loss: torch.Tensor | None = None
    itc_loss: torch.Tensor | None = None
    itm_loss: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
