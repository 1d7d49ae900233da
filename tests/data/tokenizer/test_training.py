"""A trained tokenizer: any text has tokens, and it is learnt the same way every time."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer import SPECIAL_TOKENS, Texts, make_tokenizer, train_tokenizer
from eve_core.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*texts are too few")
TEXTS = ["A man rides a horse.", "A horse and a man.", "Two men ride horses in the park."] * 3
BPE = TokenizerConfig(vocab_size=300)
WORDPIECE = TokenizerConfig(vocab_size=300, kind="wordpiece", min_frequency=1)


@pytest.fixture(scope="module", params=[BPE, WORDPIECE], ids=lambda config: config.kind)
def config(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(config):
    return train_tokenizer(TEXTS, config, max_length=16)


@pytest.fixture(scope="module")
def bpe():
    return train_tokenizer(TEXTS, BPE, max_length=16)


def test_a_text_stands_between_its_class_and_its_separator(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a horse")["input_ids"])
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    assert tokenizer.decode(tokenizer("a horse")["input_ids"], skip_special_tokens=True).strip() == "a horse"


@pytest.mark.parametrize("text", ["", "  ", "zzz qqq", "\u5199\u771f \U0001f40e", "\x00\x07", "[MASKED]", "a" * 500])
def test_no_text_defeats_it(tokenizer, text):
    encoded = tokenizer(text, truncation=True, max_length=16)["input_ids"]
    assert 2 <= len(encoded) <= 16
    assert max(encoded) < len(tokenizer)


@pytest.mark.parametrize("text", ["zzz qqq", "\u5199\u771f \U0001f40e", "\x00\x07"])
def test_to_bpe_nothing_is_unknown(bpe, text):
    assert bpe.unk_token_id not in bpe(text)["input_ids"]


def test_to_wordpiece_a_new_letter_is_unknown_and_a_new_word_is_not():
    with pytest.warns(UserWarning, match="too few"):
        wordpiece = train_tokenizer(TEXTS, WORDPIECE, max_length=16)
    assert wordpiece.tokenize("\u5199") == ["[UNK]"]
    assert "".join(wordpiece.tokenize("shorten")).replace("##", "") == "shorten"


def test_case_does_not_matter_unless_it_is_told_so(tokenizer, config):
    assert tokenizer("A HORSE")["input_ids"] == tokenizer("a horse")["input_ids"]
    cased = train_tokenizer(TEXTS, config.model_copy(update={"lowercase": False}), max_length=16)
    assert cased("A horse")["input_ids"] != cased("a horse")["input_ids"]


def test_a_word_is_the_same_token_wherever_it_stands(tokenizer):
    first, last = tokenizer("horse man")["input_ids"][1:-1], tokenizer("man horse")["input_ids"][1:-1]
    assert sorted(first) == sorted(last)


def test_it_has_the_special_tokens_and_no_more_than_the_vocabulary_asked_for(tokenizer):
    assert len(tokenizer) <= 300
    assert tokenizer.all_special_tokens == list(dict.fromkeys(tokenizer.all_special_tokens))
    assert set(tokenizer.all_special_tokens) == set(SPECIAL_TOKENS.values())
    assert tokenizer.model_max_length == 16


# Ties are what a trainer can break either way: all pairs of this text occur twice.
TIES = ["abcdefgh ijklmnop qrstuvwx", "abcdefgh ijklmnop qrstuvwx"]
PROGRAM = """
import json, sys
from eve_core.config import TokenizerConfig
from eve_core.data.tokenizer import train_tokenizer
config = TokenizerConfig.model_validate_json(sys.argv[1])
print(json.dumps(train_tokenizer(json.loads(sys.argv[2]), config, 16).backend_tokenizer.to_str()))
"""


def test_another_process_learns_the_same_tokenizer(config):
    config = config.model_copy(update={"vocab_size": 310, "min_frequency": 2})
    here = train_tokenizer(TIES, config, max_length=16).backend_tokenizer.to_str()
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, config.model_dump_json(), json.dumps(TIES)]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert json.loads(there.stdout) == here


def test_wordpiece_breaks_ties_the_same_way_every_time():
    config = WORDPIECE.model_copy(update={"vocab_size": 300, "min_frequency": 2})
    made = {train_tokenizer(TIES, config, max_length=16).backend_tokenizer.to_str() for _ in range(8)}
    assert len(made) == 1


def test_texts_that_are_too_few_for_the_vocabulary_are_said():
    with pytest.warns(UserWarning, match=r"9 texts are too few for a vocabulary of 9,000: .* it has \d+ entries"):
        assert len(train_tokenizer(TEXTS, TokenizerConfig(vocab_size=9000), max_length=16)) < 400


@pytest.mark.filterwarnings("error")
def test_texts_that_are_enough_are_not_complained_about():
    texts = [*TEXTS, *["Zebras graze quietly beyond the northern river."] * 2]
    assert len(train_tokenizer(texts, BPE, max_length=16)) == 300


def test_no_texts_are_refused():
    with pytest.raises(UserError, match="no texts to train the tokenizer on"):
        train_tokenizer([], TokenizerConfig(), max_length=16)


def test_tables_are_read_in_parts(monkeypatch):
    """No more than a part of them is ever there as Python strings."""
    monkeypatch.setattr("eve_core.data.tokenizer.texts._BATCH", 4)
    read: list[int] = []

    def texts_of(table: pa.Table) -> list[str]:
        read.append(table.num_rows)
        return table["caption"].to_pylist()

    monkeypatch.setattr("eve_core.data.tokenizer.texts.texts_of", texts_of)
    texts = Texts(pa.table({"caption": TEXTS}), pa.table({"caption": ["a dog"]}))
    assert len(texts) == 10
    assert read == []
    assert list(texts) == list(texts) == [*TEXTS, "a dog"]
    assert read == [4, 4, 1, 1] * 2


def test_a_run_trains_on_its_tables(config):
    tables = [pa.table({"caption": TEXTS}), pa.table({"question": ["What is a zebra?"] * 3})]
    made = make_tokenizer(config, tables, 16)
    alike = train_tokenizer([*TEXTS, *["What is a zebra?"] * 3], config, 16)
    assert made.get_vocab() == alike.get_vocab()
