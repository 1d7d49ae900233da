"""The tokenizer: any text has tokens, and it is learnt the same way every time."""

import pytest

from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = ["A man rides a horse.", "A horse and a man.", "Two men ride horses in the park."] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, TokenizerConfig(vocab_size=300), max_length=16)


def test_a_text_stands_between_its_class_and_its_separator(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a horse")["input_ids"])
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    assert tokenizer.decode(tokenizer("a horse")["input_ids"], skip_special_tokens=True).strip() == "a horse"


@pytest.mark.parametrize("text", ["", "  ", "zzz qqq", "\u5199\u771f \U0001f40e", "\x00\x07", "[MASKED]", "a" * 500])
def test_no_text_defeats_it(tokenizer, text):
    encoded = tokenizer(text, truncation=True, max_length=16)["input_ids"]
    assert 2 <= len(encoded) <= 16
    assert tokenizer.unk_token_id not in encoded
    assert max(encoded) < len(tokenizer)


def test_case_does_not_matter(tokenizer):
    assert tokenizer("A HORSE")["input_ids"] == tokenizer("a horse")["input_ids"]


def test_a_word_is_the_same_token_wherever_it_stands(tokenizer):
    first, last = tokenizer("horse man")["input_ids"][1:-1], tokenizer("man horse")["input_ids"][1:-1]
    assert sorted(first) == sorted(last)


def test_it_has_the_special_tokens_and_no_more_than_the_vocabulary_asked_for(tokenizer):
    assert len(tokenizer) <= 300
    assert tokenizer.all_special_tokens == list(dict.fromkeys(tokenizer.all_special_tokens))
    assert set(tokenizer.all_special_tokens) == set(SPECIAL_TOKENS.values())
    assert tokenizer.model_max_length == 16


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    again = train_tokenizer(iter(TEXTS), TokenizerConfig(vocab_size=300), max_length=16)
    assert again.get_vocab() == tokenizer.get_vocab()
