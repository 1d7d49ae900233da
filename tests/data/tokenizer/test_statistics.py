"""Statistics of a tokenizer, counted by hand."""

import pytest

from eve_core.data.tokenizer import load_tokenizer
from eve_core.data.tokenizer.statistics import describe, token_statistics


@pytest.fixture
def tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "horse"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return load_tokenizer(tmp_path, 4)


def test_lengths_and_unknown_words_by_hand(tokenizer):
    texts = ["a", "a horse", "a horse a dog", "horse"]  # 3, 4, 6 and 3 tokens, one of the inner 8 unknown
    statistics = token_statistics(tokenizer, texts, "measuring")
    assert statistics.texts == 4
    assert statistics.mean == pytest.approx(16 / 4)
    assert statistics.quantiles == (3, 6, 6)
    assert statistics.longest == 6
    assert statistics.too_long == pytest.approx(1 / 4)
    assert statistics.unknown == pytest.approx(1 / 8)


def test_texts_without_any_word_have_nothing_unknown(tokenizer):
    assert token_statistics(tokenizer, [""], "measuring").unknown == 0


def test_people_get_a_table(tokenizer, capsys):
    from rich.console import Console

    Console(width=200).print(describe(tokenizer, {"captions": token_statistics(tokenizer, ["a dog"], "measuring")}))
    shown = capsys.readouterr().out
    assert "7 entries; special tokens [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4" in shown
    assert "over 4" in shown
    assert "50.00%" in shown
