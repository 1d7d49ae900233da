"""Masked signal modelling: predict masked patches from the text, and masked words from the picture (paper eq. 8-10)."""

from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.data.masking import mask_patches, mask_tokens
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.objectives.losses import LOAD_BALANCE_WEIGHT, Losses

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torch import nn


class MaskedPairs:
    """Picture-caption pairs with their masks, as examples of `EveForPreTraining`.

    Args:
        captions: table with image_id and caption.
        images: their pictures.
        preprocessor: tokenizer and picture size.
        num_patches: P of the model.
        image_mask_ratio: share of the patches to mask.
        text_mask_ratio: share of the text tokens to mask.
    """

    def __init__(
        self,
        captions: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        num_patches: int,
        image_mask_ratio: float,
        text_mask_ratio: float,
    ) -> None:
        self.image_ids = captions["image_id"]
        self.captions = captions["caption"]
        self.images = images
        self.preprocessor = preprocessor
        self.num_patches = num_patches
        self.image_mask_ratio = image_mask_ratio
        self.text_mask_ratio = text_mask_ratio

    def __len__(self) -> int:
        return len(self.captions)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """The masked pair `index`; the masks come from `generator`."""
        image_id = self.image_ids[index].as_py()
        text = self.preprocessor.text(self.captions[index].as_py())
        input_ids = np.array(text["input_ids"])
        tokenizer = self.preprocessor.tokenizer
        token_mask = mask_tokens(~np.isin(input_ids, tokenizer.all_special_ids), self.text_mask_ratio, generator)
        visible, masked = mask_patches(self.num_patches, self.image_mask_ratio, generator)
        return {
            "pixel_values": self.preprocessor.picture(self.images[image_id], image_id),
            "input_ids": input_ids,
            "attention_mask": np.array(text["attention_mask"]),
            "visible_patches": visible,
            "masked_patches": masked,
            "masked_input_ids": np.where(token_mask, tokenizer.mask_token_id, input_ids),
            "token_mask": token_mask,
        }


def masked_signal_modeling(model: "nn.Module", batch: dict[str, "torch.Tensor"]) -> Losses:
    """MLM + MIM + 0.001 x load balance.

    Args:
        model: EveForPreTraining, or what wraps it.
        batch: collated `MaskedPairs`.

    Returns:
        The loss; parts mlm (cross-entropy over masked tokens), mim (mean squared error over masked patches) and
        load_balance.
    """
    import torch
    from torch.nn import functional as F

    output = model(**batch)
    labels = batch["input_ids"][batch["token_mask"]]
    mlm = F.cross_entropy(output.token_logits.float(), labels)
    config: Any = getattr(model, "module", model).config
    targets = patch_targets(batch["pixel_values"], batch["masked_patches"], config.patch_size)
    if config.normalize_pixel_targets:
        variance, mean = torch.var_mean(targets, dim=-1, keepdim=True)
        targets = (targets - mean) / (variance + 1e-6).sqrt()
    mim = F.mse_loss(output.patch_predictions.float(), targets)
    total = mlm + mim + LOAD_BALANCE_WEIGHT * output.load_balance_loss
    parts = {"mlm": mlm.detach(), "mim": mim.detach(), "load_balance": output.load_balance_loss.detach()}
    return Losses(total, parts)


def patch_targets(pixel_values: "torch.Tensor", masked_patches: "torch.Tensor", patch_size: int) -> "torch.Tensor":
    """(B, 3, S, S) pictures and (B, M) indices -> the pixels of those patches, (B, M, patch_dim)."""
    from eve_core.model.decoder import patchify

    patches = patchify(pixel_values.float(), patch_size)
    return patches.gather(1, masked_patches.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
