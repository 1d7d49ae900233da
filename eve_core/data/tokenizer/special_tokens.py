"""Special tokens: which entries of a vocabulary pad, stand for the unknown, open, close and mask a text."""

from collections.abc import Collection, Mapping
from pathlib import Path

from eve_core.errors import UserError

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Their names in a trained vocabulary."""

# Their names in published vocabularies: BERT's, RoBERTa's, CLIP's.
_USUAL_NAMES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>", "<|startoftext|>"),
    "sep_token": ("[SEP]", "</s>", "<|endoftext|>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def find_special_tokens(vocabulary: Collection[str], named: Mapping[str, str], source: Path) -> dict[str, str]:
    """The special tokens of an imported vocabulary.

    Args:
        vocabulary: its entries.
        named: those that are known, perhaps not all, perhaps not in the vocabulary yet.
        source: the file, for complaints.

    Returns:
        The entry for every key of `SPECIAL_TOKENS`: the named one, else the first usual name that is in the vocabulary.

    Raises:
        UserError: one has neither, or the mask is another special token too.
    """
    found = {
        role: named.get(role) or next((name for name in names if name in vocabulary), None)
        for role, names in _USUAL_NAMES.items()
    }
    missing = [f"{role} ({' or '.join(_USUAL_NAMES[role])})" for role, token in found.items() if token is None]
    if missing:
        raise UserError(
            f"the vocabulary {source} has no {', no '.join(missing)}; say in tokenizer.special_tokens which entries "
            "these are, or how to call new ones"
        )
    tokens = {role: token for role, token in found.items() if token is not None}
    if list(tokens.values()).count(tokens["mask_token"]) > 1:
        raise UserError(
            f"the mask_token {tokens['mask_token']} of {source} is another special token too, so that a masked word "
            "could not be told from it; name another one in tokenizer.special_tokens"
        )
    return tokens
