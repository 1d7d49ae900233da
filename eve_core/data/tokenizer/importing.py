"""Importing a vocabulary that exists: BERT's, GPT's and CLIP's forms, a tokenizer.json, a `from_pretrained` folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config.training import SpecialToken
from eve_core.data.tokenizer.assembly import assemble, wordpiece
from eve_core.data.tokenizer.special_tokens import SPECIAL_TOKENS, find_special_tokens
from eve_core.errors import UserError, existing_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# In a folder, the first of them that it has.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
# What models without class token and separator put in their places.
_ALSO = {"bos_token": "cls_token", "eos_token": "sep_token"}
_END_OF_WORD = "</w>"


def load_tokenizer(
    path: Path | str, max_length: int, special_tokens: Mapping[SpecialToken, str] | None = None
) -> "PreTrainedTokenizerFast":
    """Import a vocabulary from files on this machine; it splits words as it always did, and writes [CLS] ... [SEP].

    Args:
        path: a tokenizer.json; a vocab.txt with a WordPiece entry a line; a vocab.json with its merges.txt beside it,
            byte-level BPE as GPT has it, or CLIP's where entries end in </w>; or a folder that holds one of these. Of
            a folder, tokenizer_config.json and special_tokens_map.json count too. A vocab.txt lower-cases as its
            do_lower_case says; without one, unless entries have capitals.
        max_length: longest text in tokens, specials included.
        special_tokens: those that the files neither say nor have under a usual name; one that the vocabulary lacks is
            added at its end.

    Raises:
        UserError: a file is missing or broken, ids are not 0, 1, 2 ..., or a special token is not known.
    """
    path = Path(path)
    settings = _settings(path) if path.is_dir() else {}
    file = _vocabulary_file(path)
    named = _stated(settings) | {str(role): token for role, token in (special_tokens or {}).items()}
    try:
        if file.suffix == ".txt":
            tokenizer, tokens = _read_wordpiece(file, named, settings)
        elif "model" in (tree := _read_json(file)):
            tokenizer, tokens = _read_tokenizer(file, tree, named)
        else:
            tokenizer, tokens = _read_bpe(file, tree, named, settings)
    except UserError:
        raise
    except Exception as error:  # the library raises nothing more specific
        reason = " ".join(str(error).split())
        raise UserError(f"the vocabulary {file} is broken ({reason}); copy it again from where it came") from None
    return assemble(tokenizer, tokens, max_length)


def check_fits(tokenizer: "PreTrainedTokenizerFast", rows: int, source: Path | str) -> None:
    """Refuse a tokenizer with more ids than a model has word embeddings; fewer are fine, the last rows are then unused.

    Args:
        tokenizer: the tokenizer.
        rows: of the model's word embeddings.
        source: where the tokenizer comes from, for the complaint.

    Raises:
        UserError: there are too few rows.
    """
    if len(tokenizer) > rows:
        raise UserError(
            f"vocabulary size mismatch: the tokenizer {source} has {len(tokenizer):,} ids, and the model's word "
            f"embeddings have {rows:,} rows; give the tokenizer that the model was trained with"
        )


def _vocabulary_file(path: Path) -> Path:
    if not path.is_dir():
        return existing_file(path, "the vocabulary")
    found = next((path / name for name in _VOCABULARIES if (path / name).is_file()), None)
    if found is None:
        raise UserError(f"the folder {path} holds no vocabulary ({', '.join(_VOCABULARIES)}); give one that does")
    if found.name != "tokenizer.json" and (path / "added_tokens.json").is_file():
        raise UserError(
            f"the folder {path} adds tokens to {found.name} in added_tokens.json, which is read from a tokenizer.json "
            "only; save the tokenizer with a current transformers, which writes one"
        )
    return found


def _settings(folder: Path) -> dict[str, Any]:
    files = [folder / name for name in _SETTINGS if (folder / name).is_file()]
    return {key: value for file in files for key, value in _read_json(file).items()}


def _stated(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a folder's settings name; one's own name counts before that of its substitute."""
    tokens: dict[str, str] = {}
    for key in (*_ALSO, *SPECIAL_TOKENS):
        value = settings.get(key)
        if content := value.get("content") if isinstance(value, dict) else value:
            tokens[_ALSO.get(key, key)] = str(content)
    return tokens


def _read_wordpiece(
    file: Path, named: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple["Tokenizer", dict[str, str]]:
    entries = _read_text(file).removesuffix("\n").split("\n")
    vocabulary = {entry.removesuffix("\r"): number for number, entry in enumerate(entries)}
    tokens = _special_tokens(vocabulary, named, file)
    # [PAD] and [unused1] have capitals in every such file.
    cased = any("A" <= letter <= "Z" for entry in vocabulary if entry[:1] != "[" for letter in entry)
    tokenizer = wordpiece(
        vocabulary,
        tokens["unk_token"],
        lowercase=settings.get("do_lower_case", not cased),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    return tokenizer, tokens


def _read_tokenizer(file: Path, tree: dict[str, Any], named: Mapping[str, str]) -> tuple["Tokenizer", dict[str, str]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(tree))
    return tokenizer, _special_tokens(tokenizer.get_vocab(), named, file)


def _read_bpe(
    file: Path, tree: dict[str, Any], named: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple["Tokenizer", dict[str, str]]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import CLIPTokenizer

    lines = _read_text(existing_file(file.with_name("merges.txt"), "the merges of the vocabulary")).splitlines()
    pairs = (line.split(" ") for line in lines if line and not line.startswith("#version"))
    merges = [(left, right) for left, right in pairs]
    tokens = _special_tokens(tree, named, file)
    if any(entry.endswith(_END_OF_WORD) for entry in tree):
        outer = {"bos_token": tokens["cls_token"], "eos_token": tokens["sep_token"]}
        inner = {role: tokens[role] for role in ("unk_token", "pad_token")}
        tokenizer = CLIPTokenizer(vocab=tree, merges=merges, **outer, **inner).backend_tokenizer
        ends = [decoders.Replace(_END_OF_WORD, " "), decoders.Strip(" ", 0, 1)]
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), *ends])
        return tokenizer, tokens
    tokenizer = Tokenizer(models.BPE(tree, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, tokens


def _special_tokens(vocabulary: dict[str, int], named: Mapping[str, str], file: Path) -> dict[str, str]:
    """The special tokens of `vocabulary`, which gets those it lacks."""
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise UserError(f"the ids of the vocabulary {file} are not 0, 1, 2 ..., each once; copy it again")
    tokens = find_special_tokens(vocabulary, named, file)
    for token in tokens.values():
        vocabulary.setdefault(token, len(vocabulary))
    return tokens


def _read_json(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(_read_text(file))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); copy it again from where it came") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file} holds no JSON object; give the right file")
    return tree


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text (byte {error.start}); copy it again from where it came") from None
