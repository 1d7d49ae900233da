"""Last pass, over all sets: no training row may show a picture that a model is scored on."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eve_core.config import Split
from eve_core.data.leakage import SplitRows, Way, find_leaks
from eve_core.data.manifest import Manifest
from eve_core.data.prepare.quarantine import Quarantined, summarise, write_quarantine
from eve_core.data.records import SCHEMAS

_PICTURE_COLUMNS = ["image_id", "sha256", "phash", "coco_id"]


def set_leaks_apart(
    folder: Path,
    manifest: Manifest,
    quarantine: dict[str, list[Quarantined]],
    *,
    protected: list[Split] | None,
    ways: Collection[Way],
    progress: bool,
) -> Manifest:
    """Find the training rows that leak, and write every set's quarantine.

    Args:
        folder: the prepared folder with all its pictures and rows.
        manifest: of it, without quarantine.
        quarantine: by set, what is set apart for other reasons.
        protected: splits that are scored; see `eve_core.data.leakage.evaluation_splits` when None.
        ways: what counts as a leak.
        progress: show how far it is.

    Returns:
        The manifest with quarantine; its counts are of the rows that remain.
    """
    rows = [
        SplitRows(shard.set, shard.split or "", pq.read_table(folder / shard.path, columns=_compared(shard.table)))
        for shard in manifest.shards
        if shard.table != "images"
    ]
    pictures = pa.concat_tables(
        pq.read_table(folder / shard.path, columns=_PICTURE_COLUMNS)
        for shard in manifest.shards
        if shard.table == "images"
    )
    splits = None if protected is None else [(entry.set, split) for entry in protected for split in entry.splits]
    leaks: dict[str, list[Quarantined]] = {}
    for row in find_leaks(pictures, rows, splits, ways, progress=progress).rows.to_pylist():
        leaks.setdefault(row.pop("set"), []).append(Quarantined(**row))
    shards, sets = [*manifest.shards], {}
    for name, summary in manifest.sets.items():
        own = quarantine[name] + leaks.get(name, [])
        shards += write_quarantine(folder, name, own)
        # Of the shards, not of the summary: that of a set prepared earlier already lacks the rows that leaked then.
        counts: Counter[str] = Counter()
        for shard in manifest.shards:
            if shard.set == name and shard.split is not None:
                counts[shard.split] += shard.rows
        counts.subtract(Counter(leak.split or "" for leak in leaks.get(name, [])))
        reasons, examples = summarise(own)
        sets[name] = replace(summary, counts=dict(counts), quarantined=reasons, quarantined_examples=examples)
    shards.sort(key=lambda shard: (shard.table != "images", shard.path))
    return Manifest(tuple(shards), sets)


def _compared(table: str) -> list[str]:
    """Identifiers, and the texts of statements."""
    return [name for name in SCHEMAS[table].names if name.endswith("_id") or name == "statement"]
