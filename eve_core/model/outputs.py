"""What the models return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput


@dataclass
class ExpertUse(ModelOutput):
    """What the load-balance loss (eq. 7) is made of: a row for every soft-router block of every encoder pass.

    Args:
        first_choices: (R, E) how many tokens have each expert as their best, as floating-point numbers.
        probability_sums: (R, E) sum of the tokens' gate values.
    """

    first_choices: torch.Tensor | None = None
    probability_sums: torch.Tensor | None = None

    @classmethod
    def joined(cls, parts: "Sequence[ExpertUse]") -> "ExpertUse":
        """The rows of several encoder passes."""
        rows: list[Any] = [(part.first_choices, part.probability_sums) for part in parts]
        first_choices, probability_sums = zip(*rows, strict=True)
        return cls(first_choices=torch.cat(first_choices), probability_sums=torch.cat(probability_sums))

    def load_balance_loss(self, counts: torch.Tensor | None = None) -> torch.Tensor:
        """E sum_i f_i p_i: f the share of first choices, p the mean probability.

        Args:
            counts: (R, E) first choices of a whole batch that these tokens are a part of; of these tokens alone when
                None.

        Returns:
            Scalar, mean over the rows: 1 when the experts are used evenly. Of a whole batch, the part of it that these
            tokens contribute; the parts add up.
        """
        assert self.first_choices is not None
        assert self.probability_sums is not None
        if not len(self.first_choices):
            return self.probability_sums.sum()
        counts = self.first_choices if counts is None else counts
        tokens = counts.sum(1, keepdim=True)
        return counts.shape[1] * ((counts / tokens) * (self.probability_sums / tokens)).sum(1).mean()


@dataclass
class Routing(ModelOutput):
    """How one soft-router block spread its tokens.

    Args:
        use: its row of `ExpertUse`.
        vision_load: (E,) share of the vision tokens' K choices that each expert got.
        text_load: (E,) the same for text tokens.
        entropy: scalar, mean entropy of the tokens' gate values; 0 certain, 1 all experts alike.
        dead_experts: scalar, how many experts no token of the batch chose.
    """

    use: ExpertUse | None = None
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
        expert_use: what it is made of.
        routing: one entry a soft-router block.
    """

    vision_hidden_state: torch.Tensor | None = None
    text_hidden_state: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    expert_use: ExpertUse | None = None
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
        expert_use: what it is made of.
        routing: of the text-masked pass; of the first where there is none.
    """

    patch_predictions: torch.Tensor | None = None
    token_logits: torch.Tensor | None = None
    itc_loss: torch.Tensor | None = None
    itm_loss: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    expert_use: ExpertUse | None = None
    routing: tuple[Routing, ...] | None = None


@dataclass
class ImageTextClassifierOutput(ModelOutput):
    """Output of a classification head on picture and text.

    Args:
        loss: scalar, when labels were given; the load-balance loss is not in it.
        logits: (B, classes).
        load_balance_loss: scalar before its weight.
        expert_use: what it is made of.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    expert_use: ExpertUse | None = None


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
        expert_use: what it is made of.
    """

    loss: torch.Tensor | None = None
    itc_loss: torch.Tensor | None = None
    itm_loss: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    load_balance_loss: torch.Tensor | None = None
    expert_use: ExpertUse | None = None
