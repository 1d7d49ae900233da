"""What stands between a record and the model: the tokenizer and the picture's size, saved beside the weights."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.data.transforms import load_picture
from eve_core.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast


class Preprocessor:
    """Turns pictures and texts into model inputs, the same way in training, evaluation and serving.

    Args:
        tokenizer: the model's tokenizer.
        image_size: side of the model's pictures in pixels.
        max_text_length: texts are cut to this many tokens, specials included.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast", image_size: int, max_text_length: int) -> None:
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.max_text_length = max_text_length
        # Encoding with it takes a third of the time. A copy, because a call of the tokenizer changes its truncation.
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.enable_truncation(max_text_length)
        self._backend.no_padding()

    def picture(self, data: bytes, name: str = "the picture") -> "torch.Tensor":
        """Bytes of a picture -> (3, image_size, image_size) in [-1, 1]."""
        return load_picture(data, self.image_size, name)

    def text(self, text: str) -> dict[str, list[int]]:
        """A text -> its input_ids and attention_mask, lists of equal length, not padded."""
        return self.texts([text])[0]

    def texts(self, texts: list[str]) -> list[dict[str, list[int]]]:
        """Several texts, each as by `text`."""
        every = [encoded.ids for encoded in self._backend.encode_batch_fast(texts)]
        return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in every]

    def count_tokens(self, texts: list[str]) -> list[int]:
        """How long the input_ids of every text are."""
        return [len(encoded) for encoded in self._backend.encode_batch_fast(texts)]

    def save(self, folder: Path) -> None:
        """Write tokenizer and picture settings into a model's folder, where `load` and the Auto classes find them."""
        self.tokenizer.save_pretrained(folder)
        side = {"height": self.image_size, "width": self.image_size}
        settings: dict[str, Any] = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": side,
            "resample": 3,  # bicubic
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path | str) -> "Preprocessor":
        """Read what `save` wrote.

        Raises:
            UserError: the folder is not that of a saved model.
        """
        from transformers import PreTrainedTokenizerFast

        folder = Path(folder)
        try:
            side = json.loads((folder / "preprocessor_config.json").read_text())["size"]["height"]
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder} is no saved EVE model ({reason}); give the folder of a checkpoint") from None
        return cls(tokenizer, side, tokenizer.model_max_length)
