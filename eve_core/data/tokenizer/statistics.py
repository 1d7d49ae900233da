"""How a tokenizer does on texts: how long they become, and what it does not know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eve_core.data.tokenizer.special_tokens import SPECIAL_TOKENS
from eve_core.data.tokenizer.texts import Texts, in_batches
from eve_core.progress import Progress

if TYPE_CHECKING:
    from rich.console import Group
    from transformers import PreTrainedTokenizerFast

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class TokenStatistics:
    """Lengths are in tokens, class token and separator included; shares are between 0 and 1."""

    texts: int
    """How many were looked at."""
    mean: float
    """Mean length."""
    quantiles: tuple[int, ...]
    """Lengths that the shares in `QUANTILES` of the texts do not exceed."""
    longest: int
    """Greatest length."""
    too_long: float
    """Share of the texts that are cut, because they exceed the tokenizer's greatest length."""
    unknown: float
    """Share of the tokens that stand for something unknown."""


def token_statistics(
    tokenizer: "PreTrainedTokenizerFast", texts: Texts | Sequence[str], description: str
) -> TokenStatistics:
    """Tokenise `texts`, of which there is at least one, and measure; `description` names them on the progress bar."""
    lengths: list[np.ndarray] = []
    unknown = 0
    with Progress(description, len(texts), "text") as progress:
        for batch in in_batches(texts):
            encoded = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(batch)]
            lengths.append(np.array([len(ids) for ids in encoded], dtype=np.int32))
            unknown += sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
            progress.update(len(batch))
    all_lengths = np.concatenate(lengths)
    return TokenStatistics(
        texts=len(all_lengths),
        mean=float(all_lengths.mean()),
        quantiles=tuple(int(length) for length in np.quantile(all_lengths, QUANTILES, method="inverted_cdf")),
        longest=int(all_lengths.max()),
        too_long=float((all_lengths > tokenizer.model_max_length).mean()),
        unknown=unknown / max(1, int(all_lengths.sum()) - 2 * len(all_lengths)),
    )


def describe(tokenizer: "PreTrainedTokenizerFast", measured: Mapping[str, TokenStatistics]) -> "Group":
    """The tokenizer and its statistics by the name of the texts, as a table for people."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    named = ", ".join(f"{token} {tokenizer.convert_tokens_to_ids(token)}" for token in _special_tokens(tokenizer))
    percentiles = [f"{quantile:.0%} up to" for quantile in QUANTILES]
    over = f"over {tokenizer.model_max_length}"
    table = Table("texts", "count", "tokens a text", *percentiles, "longest", over, "unknown tokens")
    for name, numbers in measured.items():
        lengths = [str(length) for length in (*numbers.quantiles, numbers.longest)]
        shares = [f"{share:.2%}" for share in (numbers.too_long, numbers.unknown)]
        table.add_row(name, f"{numbers.texts:,}", f"{numbers.mean:.1f}", *lengths, *shares)
    return Group(f"{len(tokenizer):,} entries; special tokens {escape(named)}", table)


def _special_tokens(tokenizer: "PreTrainedTokenizerFast") -> list[str]:
    return [getattr(tokenizer, role) for role in SPECIAL_TOKENS]
