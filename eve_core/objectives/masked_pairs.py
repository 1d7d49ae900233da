"""Picture-caption pairs with their masks: what pre-training reads."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import AugmentationConfig
from eve_core.data.examples import Examples
from eve_core.data.masking import mask_patches, mask_tokens
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from eve_core.model import EveConfig


class MaskedPairs(Examples):
    """Picture-caption pairs as examples of `EveForPreTraining`.

    Args:
        captions: table with image_id and caption.
        images: their pictures.
        preprocessor: tokenizer and picture size.
        model_config: of the model; its tasks decide what an example holds.
        image_mask_ratio: share of the patches to mask.
        text_mask_ratio: share of the text tokens to mask.
        augmentation: how pictures are changed; None takes them whole, as in evaluation.
    """

    def __init__(
        self,
        captions: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        model_config: "EveConfig",
        image_mask_ratio: float,
        text_mask_ratio: float,
        augmentation: AugmentationConfig | None = None,
    ) -> None:
        super().__init__(captions.select(["image_id", "caption"]), "caption", images, preprocessor, augmentation)
        self.tasks = model_config.pretraining_tasks
        self.num_patches = model_config.num_patches
        self.image_mask_ratio = image_mask_ratio
        self.text_mask_ratio = text_mask_ratio
        tokenizer = preprocessor.tokenizer
        self.mask_token_id = tokenizer.mask_token_id
        self.is_word = np.ones(len(tokenizer), dtype=bool)
        self.is_word[tokenizer.all_special_ids] = False

    def build(self, row: dict[str, Any], text: dict[str, list[int]], generator: np.random.Generator) -> dict[str, Any]:
        """A pair with what the tasks need of it, but for its picture.

        Args:
            row: image_id and caption.
            text: the caption's tokens.
            generator: source of the draws. Either mask has a stream of its own, so that neither depends on what else is
                a task, nor on the augmentation.

        Returns:
            input_ids and attention_mask; visible_patches and masked_patches for mim; masked_input_ids and token_mask
            for mlm; image_ids, an int64 that captions of one picture share, for itc.

        Raises:
            UserError: the caption has no word to mask.
        """
        of_patches, of_tokens = generator.spawn(2)
        input_ids = np.array(text["input_ids"])
        example: dict[str, Any] = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
        if "mim" in self.tasks:
            visible, masked = mask_patches(self.num_patches, self.image_mask_ratio, of_patches)
            example |= {"visible_patches": visible, "masked_patches": masked}
        if "mlm" in self.tasks:
            try:
                token_mask = mask_tokens(self.is_word[input_ids], self.text_mask_ratio, of_tokens)
            except ValueError:
                raise UserError(
                    f"caption {row['caption']!r} of picture {row['image_id']} has no word to mask; mend or remove it "
                    "in the annotation file and prepare the data again"
                ) from None
            masked_input_ids = np.where(token_mask, self.mask_token_id, input_ids)
            example |= {"masked_input_ids": masked_input_ids, "token_mask": token_mask}
        if "itc" in self.tasks:
            example["image_ids"] = _number_of(row["image_id"])
        return example

    def pictures(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The picture and its caption."""
        return [row["image_id"]], [row["caption"]]


def _number_of(image_id: str) -> int:
    """64 bits of the identifier's digest, as torch's int64 takes them."""
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "little", signed=True)
