"""Statistics of a table that the next revision is compared with: rows, lengths, sizes, splits, frequent answers."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eve_core.quality.tables import CheckedTable

STATISTICS = "statistics.json"
"""File in the report folder."""

# Lower edges of the bins; the last has no upper one. Fixed, so that the counts of two revisions are comparable.
BINS: dict[str, tuple[float, ...]] = {
    "words": (*range(31), 40, 60, 100),
    "characters": (*range(0, 160, 10), 200, 300, 500, 1000),
    "rows_of_picture": (*range(1, 11), 20, 50),
    "answer_count": (*range(12),),
    "width": (0, 64, 128, 192, 256, 320, 384, 448, 512, 640, 800, 1024, 1600, 2400, 4000),
    "height": (0, 64, 128, 192, 256, 320, 384, 448, 512, 640, 800, 1024, 1600, 2400, 4000),
    "aspect_ratio": (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4),
}
_QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_CATEGORIES = ("split", "answer_type", "answers", "label", "format", "mode", "has_look_alike")
_MOST_FREQUENT = 100


def statistics_of(table: CheckedTable) -> dict[str, Any]:
    """Statistics as JSON can hold them.

    Returns:
        rows: how many there are.
        numbers: by column, mean, quantiles by share, and the counts in `bins`, whose lower edges are those of `BINS`;
            rows without a value do not count.
        categories: by column, how many rows have each of the 100 most frequent values, and how many others. A question
            counts once for each of its answers.
    """
    columns = table.columns
    return {
        "rows": table.rows.num_rows,
        "numbers": {name: _numbers(columns[name], bins) for name, bins in BINS.items() if name in columns},
        "categories": {name: _frequencies(columns[name]) for name in _CATEGORIES if name in columns},
    }


def _numbers(column: pa.ChunkedArray, bins: tuple[float, ...]) -> dict[str, Any]:
    values = pc.drop_null(column).to_numpy()
    counts, _ = np.histogram(values, [*bins, np.inf])
    quantiles = np.quantile(values, _QUANTILES) if len(values) else []
    return {
        "mean": float(values.mean()) if len(values) else None,
        "quantiles": {str(share): float(value) for share, value in zip(_QUANTILES, quantiles, strict=False)},
        "bins": list(bins),
        "counts": counts.tolist(),
    }


def _frequencies(column: pa.ChunkedArray) -> dict[str, Any]:
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    different, counts = pc.value_counts(pc.drop_null(values)).flatten()
    table = pa.table({"value": pc.cast(different, pa.string()), "count": counts})
    # Equal counts in the order of the values, so that equal data has equal statistics.
    frequent = table.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, _MOST_FREQUENT)
    counted = dict(zip(frequent["value"].to_pylist(), frequent["count"].to_pylist(), strict=True))
    return {"values": counted, "others": pc.sum(counts, min_count=0).as_py() - sum(counted.values())}
