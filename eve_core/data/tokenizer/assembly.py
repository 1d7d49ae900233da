"""What every tokenizer here has in common, trained or imported: it writes a text as class token ... separator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


def assemble(tokenizer: "Tokenizer", special_tokens: Mapping[str, str], max_length: int) -> "PreTrainedTokenizerFast":
    """A tokenizer as models are saved with it; what it did about specials, padding and truncation is replaced.

    Args:
        tokenizer: normaliser, pre-tokenizer, model and decoder.
        special_tokens: the token for every key of `SPECIAL_TOKENS`; new ones are added at the vocabulary's end.
        max_length: longest text in tokens, specials included.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.add_special_tokens([*dict.fromkeys(special_tokens.values())])
    first, last = special_tokens["cls_token"], special_tokens["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[first, "$A", last],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((first, last))],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **special_tokens)


def wordpiece(vocabulary: dict[str, int], unk_token: str, **normalization: Any) -> "Tokenizer":
    """BERT's tokenizer with another vocabulary: words and punctuation apart, pieces inside a word marked ##.

    Args:
        vocabulary: entries with their ids.
        unk_token: the one for words that are made of no others.
        normalization: options of BertNormalizer, such as lowercase.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unk_token))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalization)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
