"""The records of a set that are no rows, and why."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from eve_core.data.manifest import Manifest, Shard
from eve_core.data.records import LEAK
from eve_core.data.shards import ShardWriter

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row of the table `quarantine`."""

    row_id: str
    reason: str
    detail: str
    split: str | None


def write_quarantine(folder: Path, set_name: str, rows: list[Quarantined]) -> list[Shard]:
    """The quarantine of one set as shards in the prepared folder; none where there is nothing to keep."""
    if not rows:
        return []
    with ShardWriter(folder, "quarantine", set_name, "quarantine") as writer:
        for row in rows:
            writer.write(asdict(row))
    return writer.shards


def read_quarantine(folder: Path, manifest: Manifest, set_name: str) -> list[Quarantined]:
    """What `write_quarantine` wrote, but for leaks: those depend on the other sets and are found anew."""
    shards = [shard for shard in manifest.shards if shard.table == "quarantine" and shard.set == set_name]
    rows = [row for shard in shards for row in pq.read_table(folder / shard.path).to_pylist()]
    return [Quarantined(**row) for row in rows if not row["reason"].startswith(LEAK)]


def summarise(rows: list[Quarantined]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many rows each reason has, and up to five examples of each."""
    counts = Counter(row.reason for row in rows)
    examples: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if len(examples[row.reason]) < _EXAMPLES and row.detail not in examples[row.reason]:
            examples[row.reason].append(row.detail)
    return dict(sorted(counts.items())), dict(sorted(examples.items()))
