"""Third pass: the rows whose pictures are all there, as shards by split."""

from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from eve_core.data.manifest import Shard
from eve_core.data.prepare.picture_shards import Lost
from eve_core.data.prepare.quarantine import Quarantined
from eve_core.data.prepare.reading import Spool
from eve_core.data.shards import ShardWriter


def store_rows(
    spool: Spool, folder: Path, set_name: str, losses: dict[str, Lost]
) -> tuple[list[Shard], list[Quarantined]]:
    """Store the rows of a set in the order of its files.

    Args:
        spool: what was read.
        folder: the prepared folder.
        set_name: the set.
        losses: by image_id the pictures that could not be stored.

    Returns:
        The shards by split, and the rows that lack a picture.
    """
    lost_ids = pa.array(list(losses), pa.string())
    quarantined: list[Quarantined] = []
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        for rows in spool.rows():
            pictures = [name for name in rows.column_names if name.endswith("image_id")]
            incomplete = pa.array([False] * len(rows))
            for name in pictures:
                incomplete = pc.or_(incomplete, pc.is_in(rows[name], lost_ids))
            for row in rows.filter(incomplete).to_pylist():
                loss = next(losses[row[name]] for name in pictures if row[name] in losses)
                quarantined.append(Quarantined(str(row[rows.column_names[0]]), loss.reason, loss.detail, row["split"]))
            for row in rows.filter(pc.invert(incomplete)).to_pylist():
                split = row["split"]
                if split not in writers:
                    writers[split] = stack.enter_context(ShardWriter(folder, spool.kind, set_name, split))
                writers[split].write(row)
    return [shard for split in sorted(writers) for shard in writers[split].shards], quarantined
