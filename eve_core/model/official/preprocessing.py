"""A tokenizer for an official checkpoint, whose own files do not hold one."""

from pathlib import Path

from eve_core.data.preprocessing import Preprocessor
from eve_core.data.tokenizer import check_fits, load_tokenizer
from eve_core.model.configuration import EveConfig


def preprocessor_for(config: EveConfig, tokenizer: Path) -> Preprocessor:
    """The preprocessor of a converted model, to be saved beside it; the model then pads with the tokenizer's token.

    Args:
        config: of the converted model.
        tokenizer: its vocabulary, in a form that `load_tokenizer` knows.

    Raises:
        UserError: the vocabulary cannot be read, or has more ids than the model has word embeddings.
    """
    loaded = load_tokenizer(tokenizer, config.max_text_length)
    check_fits(loaded, config.vocab_size, tokenizer)
    config.pad_token_id = loaded.pad_token_id
    return Preprocessor(loaded, config.image_size, config.max_text_length)
