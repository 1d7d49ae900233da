"""Preparing: public sets on disk -> a prepared folder, in four passes.

Reading (`reading.py`) turns a set's files into a spool of rows and of the pictures that they need. Picture shards
(`picture_shards.py`) decode every picture once, on all cores; a killed run goes on after its last whole shard. Row
shards (`row_shards.py`) keep the rows whose pictures are there. At the end (`leaks.py`) no training row may show a
picture that any set is scored on. What becomes no row is in the set's quarantine, with its reason.
"""

from eve_core.data.prepare.sets import prepare_all, prepare_set

__all__ = ["prepare_all", "prepare_set"]
