"""Imported vocabularies: they split as they did where they come from, and what does not fit is refused by name."""

import json
import socket
from pathlib import Path

import pytest

from eve_core.config import TokenizerConfig
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.tokenizer import SPECIAL_TOKENS, check_fits, load_tokenizer, make_tokenizer, train_tokenizer
from eve_core.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*texts are too few")
TEXTS = ["A man rides a horse.", "A horse and a man, it's two o'clock", "Two men ride horses in the park."] * 3
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "horse", "##s", "man", "."]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def bpe():
    return train_tokenizer(TEXTS, TokenizerConfig(vocab_size=300), max_length=16)


def write_words(path: Path, words: list[str] = WORDS) -> Path:
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


@pytest.mark.real_data
def test_a_bert_vocabulary_gives_the_ids_that_transformers_gives(real_data):
    from transformers import BertTokenizerFast

    file = real_data / "vocab" / "bert-base-uncased-vocab.txt"
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    theirs = BertTokenizerFast(vocab={line: number for number, line in enumerate(lines)})
    ours = load_tokenizer(file, 40)
    assert len(ours) == 30522
    coco = json.loads((real_data / "coco" / "annotations" / "captions_sample2014.json").read_text())["annotations"]
    web = (real_data / "cc3m" / "Validation_GCC-1.1.0-Validation.tsv").read_text(encoding="utf-8").split("\n")
    captions = [row["caption"] for row in coco] + [line.split("\t")[0] for line in web]
    assert len(captions) > 10_000
    captions += ["Caf\u00e9 na\u00efve \u5199\u771f \U0001f40e\u200d x\u00ady", "", "[MASK] and [mask]"]
    assert ours(captions)["input_ids"] == theirs(captions)["input_ids"]
    assert [getattr(ours, role) for role in SPECIAL_TOKENS] == [getattr(theirs, role) for role in SPECIAL_TOKENS]


def test_a_word_list_lower_cases_unless_it_has_capitals(tmp_path):
    uncased = load_tokenizer(write_words(tmp_path / "vocab.txt"), 16)
    assert uncased.tokenize("A HORSES") == ["a", "horse", "##s"]
    cased = load_tokenizer(write_words(tmp_path / "cased.txt", [*WORDS, "A"]), 16)
    assert cased.tokenize("A a HORSE") == ["A", "a", "[UNK]"]


def test_what_a_folder_says_about_case_counts(tmp_path):
    write_words(tmp_path / "vocab.txt")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert load_tokenizer(tmp_path, 16).tokenize("A a") == ["[UNK]", "a"]


def test_tokens_that_stand_in_a_file_of_their_own_are_not_forgotten(tmp_path):
    write_words(tmp_path / "vocab.txt")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"zebra": len(WORDS)}))
    with pytest.raises(UserError, match=r"adds tokens to vocab\.txt in added_tokens\.json"):
        load_tokenizer(tmp_path, 16)


def test_line_ends_of_another_system_belong_to_no_word(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(WORDS).encode() + b"\r\n")
    assert load_tokenizer(tmp_path, 16).tokenize("a horses.") == ["a", "horse", "##s", "."]


def test_gpt_style_files_give_the_ids_that_transformers_gives(tmp_path, bpe):
    from transformers import GPT2Tokenizer

    bpe.backend_tokenizer.model.save(str(tmp_path))
    ours = load_tokenizer(tmp_path, 16)
    names = {role: SPECIAL_TOKENS[role] for role in ("pad_token", "unk_token")}
    theirs = GPT2Tokenizer.from_pretrained(tmp_path, bos_token="[CLS]", eos_token="[SEP]", **names)
    for text in [*TEXTS, "A  double space", "Caf\u00e9 \U0001f40e", ""]:
        assert ids(ours, text)[1:-1] == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ids(ours, "Caf\u00e9 horse"), skip_special_tokens=True) == "Caf\u00e9 horse"
    assert ids(load_tokenizer(tmp_path / "vocab.json", 16), "a horse") == ids(ours, "a horse")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True}))
    assert ids(load_tokenizer(tmp_path, 16), "a horse") == ids(ours, " a horse")


CLIP = {"!": 0, "a": 1, "h": 2, "o": 3, "\u00c3": 4, "\u00a9": 5, "a</w>": 6, "h</w>": 7, "o</w>": 8, "\u00a9</w>": 9}
CLIP |= {"!</w>": 10, "ho</w>": 11, "<|startoftext|>": 12, "<|endoftext|>": 13}
CLIP_NAMES = {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "mask_token": "<|mask|>"}


def write_clip(folder: Path) -> Path:
    (folder / "vocab.json").write_text(json.dumps(CLIP))
    (folder / "merges.txt").write_text("#version: 0.2\nh o</w>\n")
    return folder


def test_clip_style_files_give_the_ids_that_transformers_gives(tmp_path):
    from transformers import CLIPTokenizer

    theirs, ours = CLIPTokenizer.from_pretrained(write_clip(tmp_path)), load_tokenizer(tmp_path, 16, CLIP_NAMES)
    for text in ["A ho, a", "aho ho!!", "\u00e9 a", "  a\n\nho ", ""]:
        assert ids(ours, text) == ids(theirs, text)
    assert ours.decode(ids(ours, "A \u00e9 ho!"), skip_special_tokens=True) == "a \u00e9 ho !"


def test_a_named_special_token_that_is_new_is_added_at_the_end(tmp_path):
    tokenizer = load_tokenizer(write_clip(tmp_path), 16, CLIP_NAMES)
    assert tokenizer.mask_token_id == len(CLIP) == len(tokenizer) - 1
    assert tokenizer.pad_token_id == tokenizer.sep_token_id == CLIP["<|endoftext|>"]
    assert ids(tokenizer, "a <|mask|>") == [12, 6, len(CLIP), 13]


def test_special_tokens_that_are_nowhere_are_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"vocab\.json has no pad_token \(\[PAD\] or <pad>\), no unk_token .* no mask"):
        load_tokenizer(write_clip(tmp_path), 16)


def test_a_mask_that_is_also_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"mask_token <\|endoftext\|> of .*vocab\.json is another special token too"):
        load_tokenizer(write_clip(tmp_path), 16, {**CLIP_NAMES, "mask_token": "<|endoftext|>"})


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_saved_tokenizer_comes_back(tmp_path, bpe, form):
    bpe.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path if form == "folder" else tmp_path / "tokenizer.json", 12)
    assert again.get_vocab() == bpe.get_vocab()
    assert [ids(again, text) for text in TEXTS] == [ids(bpe, text) for text in TEXTS]
    assert again.model_max_length == 12


def test_names_in_a_folder_count_and_those_of_the_config_count_more(tmp_path):
    words = ["<nothing>", "<what>", "<begin>", "<end>", "<hidden>", "<gap>", "a"]
    write_words(tmp_path / "vocab.txt", words)
    names = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token", "mask_token"), words[:5], strict=True))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({**names, "mask_token": {"content": "<hidden>"}}))
    tokenizer = load_tokenizer(tmp_path, 16, {"pad_token": "<gap>"})
    assert [getattr(tokenizer, f"{role}_token_id") for role in ("pad", "unk", "cls", "sep", "mask")] == [5, 1, 2, 3, 4]
    assert ids(tokenizer, "a b") == [2, 6, 1, 3]


def test_lengths_that_a_file_carries_do_not_count(tmp_path, bpe):
    bpe.backend_tokenizer.enable_truncation(3)
    bpe.backend_tokenizer.enable_padding(length=9)
    bpe.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    bpe.backend_tokenizer.no_truncation()
    bpe.backend_tokenizer.no_padding()
    assert ids(load_tokenizer(tmp_path, 16), TEXTS[0]) == ids(bpe, TEXTS[0])


def test_an_imported_tokenizer_is_saved_with_a_model_and_comes_back(tmp_path):
    tokenizer = make_tokenizer(TokenizerConfig(path=write_words(tmp_path / "vocab.txt")), [], 6)
    (tmp_path / "model").mkdir()
    Preprocessor(tokenizer, 32, 6).save(tmp_path / "model")
    again = Preprocessor.load(tmp_path / "model")
    assert again.text("A HORSES and a man and a horse")["input_ids"] == [2, 5, 6, 7, 1, 3]
    assert again.tokenizer.mask_token_id == WORDS.index("[MASK]")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", b"\xff\xfe", r"vocab\.txt is not UTF-8 text \(byte 0\)"),
        ("vocab.txt", b"", "has no pad_token"),
        ("vocab.txt", "\n".join([*WORDS, "a"]).encode(), r"ids of .*vocab\.txt are not 0, 1, 2"),
        ("tokenizer.json", b"{", r"tokenizer\.json is not valid JSON"),
        ("tokenizer.json", b"[1]", r"tokenizer\.json holds no JSON object"),
        ("tokenizer.json", b'{"model": {"type": "BPE"}}', r"vocabulary .*tokenizer\.json is broken"),
        ("vocab.json", b'{"a": 0}', r"the merges of the vocabulary .*merges\.txt does not exist"),
        ("vocab.model", b"", r"folder .* holds no vocabulary \(tokenizer\.json, vocab\.txt, vocab\.json\)"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_tokenizer(tmp_path, 16)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [(CLIP, "h x</w>\n"), (CLIP, "h o a\n"), ({**CLIP, "a": 99}, "h o</w>\n"), ({**CLIP, "a": "b"}, "h o</w>\n")],
    ids=["merge of nothing", "merge of three", "hole in the ids", "id that is none"],
)
def test_bpe_files_that_do_not_belong_together_are_refused(tmp_path, vocabulary, merges):
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match=r"vocabulary .*vocab\.json (is broken|are not 0)"):
        load_tokenizer(tmp_path, 16, CLIP_NAMES)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"the vocabulary .*absent\.txt does not exist"):
        load_tokenizer(tmp_path / "absent.txt", 16)


def test_more_ids_than_rows_are_a_mismatch_and_fewer_are_not(tmp_path):
    tokenizer = load_tokenizer(write_words(tmp_path / "vocab.txt"), 16)
    check_fits(tokenizer, len(WORDS), "vocab.txt")
    check_fits(tokenizer, len(WORDS) + 6, "vocab.txt")
    with pytest.raises(
        UserError, match=r"vocabulary size mismatch: the tokenizer vocab\.txt has 10 ids, .* have 9 rows"
    ):
        check_fits(tokenizer, len(WORDS) - 1, "vocab.txt")
