"""Slices: the scored items divided by what they are like, so that a fall in one part cannot hide in the whole."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import SliceConfig
from eve_core.data.prepared import PreparedData
from eve_core.errors import UserError, existing_file

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "slice/"
"""How the columns of scored items begin that hold what slices divide by."""
_COLUMN = {"question_type": "question_type", "answer_type": "answer_type", "direction": "direction", "label": "target"}


def add_attributes(items: "pa.Table", slices: Sequence[SliceConfig], data: PreparedData) -> "pa.Table":
    """The items with a column for every slice, which says what an item is like.

    Args:
        items: of `TaskScores`.
        slices: what is asked for.
        data: for the sizes of pictures.

    Raises:
        UserError: the task's items have no such property, or a table lacks some of them.
    """
    import pyarrow as pa

    for config in slices:
        values = _values(items, config, data)
        numeric = not any(isinstance(value, str) for value in values)
        items = items.append_column(PREFIX + config.by, pa.array(values, pa.float64() if numeric else pa.string()))
    return items


def divide(items: "pa.Table", slices: Sequence[SliceConfig]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The parts of all slices.

    Args:
        items: of `add_attributes`.
        slices: what is asked for.

    Returns:
        (N,) bool by name ("answer_type number", "words 8 to 12"), and what is wrong with parts that are asked for, in
        sentences: they have too few items, or none.
    """
    parts: dict[str, np.ndarray] = {}
    problems = []
    for config in slices:
        if PREFIX + config.by not in items.column_names:
            problems.append(f"the items were scored without slice {config.by}")
            continue
        values = items[PREFIX + config.by].to_pylist()
        named = _ranges(values, config.bins) if config.bins else _texts(values, config.values)
        asked_for = bool(config.bins or config.values)
        for name, members in named.items():
            count = int(members.sum())
            if count >= config.min_items:
                parts[f"{config.by} {name}"] = members
            elif asked_for:
                problems.append(f"slice {config.by} {name} has {count} items, fewer than {config.min_items}")
        if not asked_for and not any(members.sum() >= config.min_items for members in named.values()):
            problems.append(f"slice {config.by} has no part with {config.min_items} items")
    return parts, problems


def _values(items: "pa.Table", config: SliceConfig, data: PreparedData) -> list[Any]:
    if config.table is not None:
        return _from_table(items, config)
    if _COLUMN.get(config.by) in items.column_names:
        return [str(value) for value in items[_COLUMN[config.by]].to_pylist()]
    if config.by == "words":
        return [float(len(text.split())) for text in items["text"].to_pylist()]
    image_ids = items["image_id"].to_pylist()
    if config.by == "source":
        return [image_id.partition("/")[0] for image_id in image_ids]
    if config.by == "image_side":
        info = data.image_info().select(["image_id", "width", "height"]).to_pylist()
        side = {row["image_id"]: float(min(row["width"], row["height"])) for row in info}
        return [side[image_id] for image_id in image_ids]
    there_is = [name for name, column in _COLUMN.items() if column in items.column_names]
    raise UserError(
        f"evaluation.slices: items of this task have no {config.by}; they have "
        f"{', '.join([*there_is, 'words', 'image_side', 'source'])}, and what a table adds"
    )


def _from_table(items: "pa.Table", config: SliceConfig) -> list[Any]:
    import pandas as pd

    assert config.table is not None
    path = existing_file(config.table, "the table of a slice")
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    key = next((name for name in ("item_id", "image_id") if name in table.columns), None)
    if key is None or config.by not in table.columns:
        raise UserError(
            f"the table {path} needs columns {config.by} and image_id or item_id; it has {[*table.columns]}"
        )
    known = dict(zip(table[key].astype(str), table[config.by], strict=True))
    keys = items[key].to_pylist()
    missing = [name for name in keys if name not in known]
    if missing:
        raise UserError(f"the table {path} lacks {len(missing)} of the scored {key}s, such as {missing[0]}; add them")
    values = [known[name] for name in keys]
    return [value if isinstance(value, str) else float(value) for value in values]


def _ranges(values: Sequence[Any], bins: Sequence[float]) -> Mapping[str, np.ndarray]:
    if any(isinstance(value, str) for value in values):
        raise UserError(f"evaluation.slices: bins {list(bins)} are of numbers, but the items have texts; use values")
    numbers = np.array([math.nan if value is None else value for value in values])
    edges = [-math.inf, *bins, math.inf]
    names = [
        f"below {bins[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(bins)),
        f"{bins[-1]:g} and more",
    ]
    return {
        name: (numbers >= low) & (numbers < high)
        for name, low, high in ((name, *ends) for name, ends in zip(names, pairwise(edges), strict=True))
    }


def _texts(values: Sequence[Any], asked_for: Sequence[str]) -> Mapping[str, np.ndarray]:
    texts = np.array([f"{value:g}" if isinstance(value, float) else str(value) for value in values])
    names = asked_for or [name for name, _ in Counter(texts.tolist()).most_common()]
    return {name: texts == name for name in names}
