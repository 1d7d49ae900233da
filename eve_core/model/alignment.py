"""Image-text contrast (ITC) and matching (ITM), for retrieval and for the objectives that EVE is compared with."""

import torch
from torch import nn
from torch.nn import functional as F

from eve_core.model.configuration import EveConfig

# Added to the sampling weights of hard negatives, so that none is impossible.
_NEGATIVE_FLOOR = 1e-5


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


def contrastive_loss(similarity: torch.Tensor, image_ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways; all captions of a picture are its positives.

    Args:
        similarity: (B, B), pictures in rows.
        image_ids: (B,) integers.

    Returns:
        Scalar.
    """
    same = (image_ids[:, None] == image_ids[None, :]).float()
    targets = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(similarity, targets) + F.cross_entropy(similarity.T, targets)) / 2


def pairs_to_match(
    similarity: torch.Tensor, image_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every pair, then a hard negative picture for every text, then a hard negative text for every picture.

    Args:
        similarity: (B, B), pictures in rows; negatives are drawn, the likelier the more similar.
        image_ids: (B,) integers; captions of the same picture are no negatives.

    Returns:
        (R,) rows of the pictures, (R,) rows of the texts, (R,) labels; R = 3 B, or B when all pictures are one.
    """
    same = image_ids[:, None] == image_ids[None, :]
    rows = torch.arange(len(similarity), device=similarity.device)
    if bool(same.all()):
        return rows, rows, torch.ones_like(rows)
    similarity = similarity.detach()
    images = torch.cat([rows, _sample(similarity.T, same), rows])
    texts = torch.cat([rows, rows, _sample(similarity, same)])
    return images, texts, (torch.arange(len(images), device=rows.device) < len(rows)).long()


def _sample(similarity: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """For every row one column of another picture: (B, B), (B, B) -> (B,)."""
    weights = (similarity.softmax(1) + _NEGATIVE_FLOOR).masked_fill(same, 0.0)
    # A row whose every column is the same picture keeps its own pair: harmless, and multinomial needs one choice.
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.eye(len(weights), device=weights.device))
    return torch.multinomial(weights, 1).squeeze(1)
