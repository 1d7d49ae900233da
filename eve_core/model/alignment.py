"""Image-text contrast (ITC) and matching (ITM), for retrieval and for the objectives that EVE is compared with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig
from eve_core.model.global_batch import gather_rows, own_rows, pad_to_longest, same_everywhere
from eve_core.model.outputs import EveModelOutput

# Added to the sampling weights of hard negatives, so that none is impossible.
_NEGATIVE_FLOOR = 1e-5
_ALL = slice(None)


@dataclass
class AlignmentLosses:
    """Scalars."""

    itc: torch.Tensor
    """Contrast."""
    itm: torch.Tensor | None = None
    """Matching; None for a model without it."""
    fused: EveModelOutput | None = None
    """The encoded pairs that were matched."""


class Alignment(nn.Module):
    """A projection of each modality with a learned temperature, and a matching score of a pair (official code)."""

    def __init__(self, config: EveConfig, *, matching: bool = True) -> None:
        super().__init__()
        self.vision_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.text_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.temperature = nn.Parameter(torch.tensor(config.temperature_init))
        self.matching_head = nn.Linear(config.hidden_size, 2) if matching else None

    def embed_vision(self, vision: torch.Tensor) -> torch.Tensor:
        """(B, V, D) encoded pictures -> (B, D) of unit length, from the class token."""
        return F.normalize(self.vision_projection(vision[:, 0]).float(), dim=-1)

    def embed_text(self, text: torch.Tensor) -> torch.Tensor:
        """(B, L, D) encoded texts -> (B, D) of unit length, from the class token."""
        return F.normalize(self.text_projection(text[:, 0]).float(), dim=-1)

    def match(self, text: torch.Tensor) -> torch.Tensor:
        """(B, L, D) texts encoded with their pictures -> (B, 2) logits; [:, 1] speaks for a match."""
        assert self.matching_head is not None
        logits: torch.Tensor = self.matching_head(text[:, 0])
        return logits

    def similarity(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """(B, D), (B, D) -> (B, B) cosines over the temperature, pictures in rows."""
        return image_embeds @ text_embeds.T / self.temperature.clamp(0.001, 0.5)

    def losses(
        self,
        encode: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], EveModelOutput],
        embeds: tuple[torch.Tensor, torch.Tensor],
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        image_ids: torch.Tensor,
    ) -> AlignmentLosses:
        """ITC, and ITM on hard negatives; in training, against the pairs of all processes.

        Args:
            encode: pictures and texts together, for ITM.
            embeds: of the pictures and of the texts, (B, D) each.
            pixel_values: (B, 3, H, W).
            input_ids: (B, L).
            attention_mask: (B, L), 0 for padding.
            image_ids: (B,) integers; equal ids mark captions of one picture.
        """
        image_embeds, text_embeds = embeds
        own = own_rows(len(image_ids), whole_batch=self.training)
        if self.training:
            image_embeds, text_embeds, image_ids = map(gather_rows, (image_embeds, text_embeds, image_ids))
        similarity = self.similarity(image_embeds, text_embeds)
        itc = contrastive_loss(similarity, image_ids, own)
        if self.matching_head is None:
            return AlignmentLosses(itc)
        images, texts, labels = pairs_to_match(similarity, image_ids, own, together=self.training)
        if self.training:
            pixel_values = gather_rows(_as_the_network_reads(pixel_values))
            input_ids, attention_mask = map(gather_rows, pad_to_longest(input_ids, attention_mask))
        fused = encode(pixel_values[images], input_ids[texts], attention_mask[texts])
        assert fused.text_hidden_state is not None
        return AlignmentLosses(itc, F.cross_entropy(self.match(fused.text_hidden_state).float(), labels), fused)


def _as_the_network_reads(pixel_values: torch.Tensor) -> torch.Tensor:
    """In autocast's type, to which its first matrix product takes them anyway: half as much to send and to keep."""
    device = pixel_values.device.type
    return pixel_values.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else pixel_values


def contrastive_loss(similarity: torch.Tensor, image_ids: torch.Tensor, own: slice = _ALL) -> torch.Tensor:
    """Cross-entropy both ways; all captions of a picture are its positives.

    Args:
        similarity: (B, B), pictures in rows.
        image_ids: (B,) integers.
        own: which pairs' losses; the others are only what they are told apart from.

    Returns:
        Scalar, mean over the own pairs.
    """
    same = (image_ids[:, None] == image_ids[None, :]).float()
    targets = (same / same.sum(1, keepdim=True))[own]
    return (F.cross_entropy(similarity[own], targets) + F.cross_entropy(similarity.T[own], targets)) / 2


def pairs_to_match(
    similarity: torch.Tensor, image_ids: torch.Tensor, own: slice = _ALL, *, together: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every own pair, then a hard negative picture for its text, then a hard negative text for its picture.

    Args:
        similarity: (B, B), pictures in rows; negatives are drawn, the likelier the more similar.
        image_ids: (B,) integers; captions of the same picture are no negatives.
        own: the B' pairs that are matched.
        together: all processes draw at once, and have to draw the same.

    Returns:
        (R,) rows of the pictures, (R,) rows of the texts, (R,) labels; R = 3 B', or B' when all pictures are one.
    """
    same = image_ids[:, None] == image_ids[None, :]
    rows = torch.arange(len(similarity), device=similarity.device)
    if bool(same.all()):
        return rows[own], rows[own], torch.ones_like(rows[own])
    similarity = similarity.detach()
    negative_images, negative_texts = _sample(similarity.T, same, together), _sample(similarity, same, together)
    images = torch.cat([rows[own], negative_images[own], rows[own]])
    texts = torch.cat([rows[own], rows[own], negative_texts[own]])
    return images, texts, (torch.arange(len(images), device=rows.device) < len(rows[own])).long()


def _sample(similarity: torch.Tensor, same: torch.Tensor, together: bool) -> torch.Tensor:
    """For every row one column of another picture: (B, B), (B, B) -> (B,)."""
    weights = (similarity.softmax(1) + _NEGATIVE_FLOOR).masked_fill(same, 0.0)
    # A row whose every column is the same picture keeps its own pair: harmless.
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.eye(len(weights), device=weights.device))
    # The largest of weight / exponential noise is each column with its weight's probability.
    noise = torch.empty_like(weights).exponential_()
    return (weights / (same_everywhere(noise) if together else noise)).argmax(1)
