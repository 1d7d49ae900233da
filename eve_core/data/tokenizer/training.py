"""Training a tokenizer on a run's own texts: byte-level BPE, or WordPiece."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer.assembly import assemble, wordpiece
from eve_core.data.tokenizer.special_tokens import SPECIAL_TOKENS
from eve_core.data.tokenizer.texts import Texts, in_batches
from eve_core.errors import UserError
from eve_core.progress import Progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# Characters of WordPiece, the most frequent; a word with any other is unknown.
_ALPHABET = 1000


def train_tokenizer(
    texts: Texts | Sequence[str], config: TokenizerConfig, max_length: int
) -> "PreTrainedTokenizerFast":
    """Train a tokenizer that writes a text as [CLS] ... [SEP]; the same texts give the same one.

    Args:
        texts: what it learns from. WordPiece reads them twice.
        config: kind, vocabulary size, frequency limit, case.
        max_length: longest text in tokens, specials included.

    Returns:
        The tokenizer. To one of kind bpe no text is unknown, since it falls back on bytes. Where the texts are too few
        for the vocabulary asked for, it has fewer entries and a warning says so.

    Raises:
        UserError: there are no texts.
    """
    if not len(texts):
        raise UserError("there are no texts to train the tokenizer on; name captions in pretraining.data")
    tokenizer = (_train_bpe if config.kind == "bpe" else _train_wordpiece)(texts, config)
    if tokenizer.get_vocab_size() < config.vocab_size:
        warnings.warn(
            f"{len(texts):,} texts are too few for a vocabulary of {config.vocab_size:,}: nothing else occurs "
            f"{config.min_frequency} times, so it has {tokenizer.get_vocab_size():,} entries; name more texts in "
            "tokenizer.data, or set a smaller tokenizer.vocab_size",
            stacklevel=2,
        )
    return assemble(tokenizer, SPECIAL_TOKENS, max_length)


def _train_bpe(texts: Texts | Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    lowercase = [normalizers.Lowercase()] if config.lowercase else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *lowercase, normalizers.Strip()])
    # A leading space makes a word the same token wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=sys.stderr.isatty(),
    )
    tokenizer.train_from_iterator(_shown(texts, "learning a vocabulary"), trainer)
    return tokenizer


def _train_wordpiece(texts: Texts | Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    """BPE with marked continuations, whose entries then are WordPiece's.

    The trainer numbers letters inside words in the order of a hash map, and breaks ties by these numbers; declared
    beforehand, they have the same ones every time.
    """
    from tokenizers import Tokenizer, models, trainers

    specials, unk_token = list(SPECIAL_TOKENS.values()), SPECIAL_TOKENS["unk_token"]
    empty = wordpiece({}, unk_token, lowercase=config.lowercase)
    letters: Counter[str] = Counter()
    for batch in _shown(texts, "collecting letters"):
        letters.update(empty.normalizer.normalize_str(" ".join(batch)))
    alphabet = sorted(letter for letter, _ in letters.most_common(_ALPHABET) if not letter.isspace())
    inside_words = [letter for letter in alphabet if len(_words(empty, f"a{letter}")) == 1]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=specials + [f"##{letter}" for letter in inside_words],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix="##",
        show_progress=sys.stderr.isatty(),
    )
    learner = Tokenizer(models.BPE(unk_token=unk_token, continuing_subword_prefix="##"))
    learner.normalizer, learner.pre_tokenizer = empty.normalizer, empty.pre_tokenizer
    learner.train_from_iterator(_shown(texts, "learning a vocabulary"), trainer)
    return wordpiece(learner.get_vocab(), unk_token, lowercase=config.lowercase)


def _words(tokenizer: "Tokenizer", text: str) -> list[tuple[str, tuple[int, int]]]:
    words: list[tuple[str, tuple[int, int]]] = tokenizer.pre_tokenizer.pre_tokenize_str(
        tokenizer.normalizer.normalize_str(text)
    )
    return words


def _shown(texts: Texts | Sequence[str], description: str) -> Iterator[Sequence[str]]:
    """`texts` in batches, with a bar; after the last one the trainer goes on alone."""
    with Progress(description, len(texts), "text") as progress:
        for batch in in_batches(texts):
            yield batch
            progress.update(len(batch))
