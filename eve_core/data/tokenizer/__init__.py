"""The tokenizer: trained on a run's own texts or imported from files, and saved with the model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer.importing import check_fits, load_tokenizer
from eve_core.data.tokenizer.special_tokens import SPECIAL_TOKENS
from eve_core.data.tokenizer.texts import Texts
from eve_core.data.tokenizer.training import train_tokenizer

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerFast

__all__ = ["SPECIAL_TOKENS", "Texts", "check_fits", "load_tokenizer", "make_tokenizer", "train_tokenizer"]


def make_tokenizer(config: TokenizerConfig, tables: Sequence["pa.Table"], max_length: int) -> "PreTrainedTokenizerFast":
    """The tokenizer that a run's configuration describes.

    Args:
        config: import or training.
        tables: captions, questions or statements to train it on.
        max_length: longest text in tokens, specials included.

    Raises:
        UserError: see `load_tokenizer` and `train_tokenizer`.
    """
    if config.path is not None:
        return load_tokenizer(config.path, max_length, config.special_tokens)
    return train_tokenizer(Texts(*tables), config, max_length)
