"""What a prepared folder holds, as a table for people."""

from typing import TYPE_CHECKING

from eve_core.data.manifest import Manifest
from eve_core.data.records import KIND_OF_SET, NAMESPACE_OF_SET

if TYPE_CHECKING:
    from rich.console import Group


def summary(manifest: Manifest) -> "Group":
    """Sets with their rows by split and what is in quarantine, pictures with their sizes, and the digest."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    sets = Table("set", "table", "pictures", "rows", "in quarantine")
    examples, notes = [], []
    for name, numbers in manifest.sets.items():
        rows = "\n".join(f"{split} {count:,}" for split, count in numbers.counts.items())
        apart = "\n".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in numbers.quarantined.items())
        sets.add_row(name, KIND_OF_SET[name], NAMESPACE_OF_SET[name], rows, apart or "nothing")
        for reason, shown in numbers.quarantined_examples.items():
            examples += [f"{name}, {reason.replace('_', ' ')}: {'; '.join(shown)}"]
        notes += numbers.notes
    pictures = Table("pictures", "count", "MB", "shards")
    for namespace in sorted({shard.set for shard in manifest.shards if shard.table == "images"}):
        shards = [shard for shard in manifest.shards if shard.table == "images" and shard.set == namespace]
        count, size = sum(shard.rows for shard in shards), sum(shard.bytes for shard in shards)
        pictures.add_row(namespace, f"{count:,}", f"{size / 1e6:,.1f}", str(len(shards)))
    parts: list[Table | str] = [sets, pictures]
    for title, lines in (("in quarantine, for example", examples), ("not as published", notes)):
        if lines:
            parts.append(escape("\n  ".join([f"{title}:", *lines])))
    return Group(*parts, f"digest {manifest.digest}")
