"""Picture-caption pairs with their masks: what pre-training reads."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.data.masking import mask_patches, mask_tokens
from eve_core.data.prepared import ImageStore
from eve_core.data.preprocessing import Preprocessor
from eve_core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from eve_core.model import EveConfig


class MaskedPairs:
    """Picture-caption pairs as examples of `EveForPreTraining`.

    Args:
        captions: table with image_id and caption.
        images: their pictures.
        preprocessor: tokenizer and picture size.
        model_config: of the model; its tasks decide what an example holds.
        image_mask_ratio: share of the patches to mask.
        text_mask_ratio: share of the text tokens to mask.
    """

    def __init__(
        self,
        captions: "pa.Table",
        images: ImageStore,
        preprocessor: Preprocessor,
        model_config: "EveConfig",
        image_mask_ratio: float,
        text_mask_ratio: float,
    ) -> None:
        self.image_ids = captions["image_id"]
        self.captions = captions["caption"]
        self.images = images
        self.preprocessor = preprocessor
        self.tasks = model_config.pretraining_tasks
        self.num_patches = model_config.num_patches
        self.image_mask_ratio = image_mask_ratio
        self.text_mask_ratio = text_mask_ratio

    def __len__(self) -> int:
        return len(self.captions)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """Pair `index` with what the tasks need of it.

        Args:
            index: row of the captions.
            generator: source of the masks. Patches and tokens have a stream of their own each, so that neither's mask
                depends on what else is a task.

        Returns:
            pixel_values, input_ids and attention_mask; visible_patches and masked_patches for mim; masked_input_ids and
            token_mask for mlm; image_ids, an int64 that captions of one picture share, for itc.

        Raises:
            UserError: the picture is missing or unreadable, or the caption has no word to mask.
        """
        image_id = self.image_ids[index].as_py()
        caption = self.captions[index].as_py()
        text = self.preprocessor.text(caption)
        input_ids = np.array(text["input_ids"])
        of_patches, of_tokens = generator.spawn(2)
        example = {
            "pixel_values": self.preprocessor.picture(self.images[image_id], image_id),
            "input_ids": input_ids,
            "attention_mask": np.array(text["attention_mask"]),
        }
        if "mim" in self.tasks:
            visible, masked = mask_patches(self.num_patches, self.image_mask_ratio, of_patches)
            example |= {"visible_patches": visible, "masked_patches": masked}
        if "mlm" in self.tasks:
            tokenizer = self.preprocessor.tokenizer
            words = ~np.isin(input_ids, tokenizer.all_special_ids)
            try:
                token_mask = mask_tokens(words, self.text_mask_ratio, of_tokens)
            except ValueError:
                raise UserError(
                    f"caption {caption!r} of picture {image_id} has no word to mask; mend or remove it in the "
                    "annotation file and prepare the data again"
                ) from None
            masked_input_ids = np.where(token_mask, tokenizer.mask_token_id, input_ids)
            example |= {"masked_input_ids": masked_input_ids, "token_mask": token_mask}
        if "itc" in self.tasks:
            example["image_ids"] = _number_of(image_id)
        return example


def _number_of(image_id: str) -> int:
    """64 bits of the identifier's digest, as torch's int64 takes them."""
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "little", signed=True)
