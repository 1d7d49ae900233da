"""Data: public sets on disk -> records -> Parquet shards with a manifest -> batches.

`prepare` turns the files of public sets (`sources`, or the drawn `synthetic` world) into a prepared folder;
`PreparedData` reads one.
"""

from eve_core.data.manifest import Manifest, SetSummary, Shard
from eve_core.data.prepared import ImageStore, PreparedData

__all__ = ["ImageStore", "Manifest", "PreparedData", "SetSummary", "Shard"]
