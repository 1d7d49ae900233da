"""What changed between two revisions of the data: rows by set and split, pictures, and what was left out."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eve_core.config import DataConfig
from eve_core.data.versioning.contents import Contents
from eve_core.data.versioning.revision import resolve_revision
from eve_core.data.versioning.row_changes import RowChanges, row_changes
from eve_core.data.versioning.stores import open_stores

if TYPE_CHECKING:
    from rich.console import Group

_SHOWN = 3


@dataclass(frozen=True)
class Side:
    """One of the two revisions."""

    commit: str
    """The commit that pins it."""
    digest: str
    """Its manifest's."""


@dataclass(frozen=True)
class TableDifference:
    """A split of a set, or a namespace of pictures, that is not the same in both."""

    table: str
    """captions, questions, statements or images."""
    set: str
    """The public set, or the pictures' namespace."""
    split: str | None
    """The split; None for pictures."""
    before: int
    """Rows then, as readers see them."""
    after: int
    """Rows now."""
    rows: RowChanges | None
    """Which; None when a shard that differs is in neither store."""


@dataclass(frozen=True)
class LeftOut:
    """A reason for which another number of records is in quarantine."""

    set: str
    """The public set."""
    reason: str
    """missing_picture, empty_caption, ..."""
    before: int
    """Records then."""
    after: int
    """Records now."""


@dataclass(frozen=True)
class DataDifference:
    """Two revisions compared."""

    before: Side
    """The first."""
    after: Side
    """The second."""
    tables: list[TableDifference]
    """Where their rows and pictures differ."""
    left_out: list[LeftOut]
    """Where their quarantines differ."""

    @property
    def same(self) -> bool:
        """Whether both hold the same data."""
        return self.before.digest == self.after.digest

    def as_json(self) -> dict[str, Any]:
        """All of it, with every identifier."""
        return {"same": self.same, **asdict(self)}


def compare_revisions(config: DataConfig, before: str, after: str) -> DataDifference:
    """Compare two revisions by their manifests and, where shards differ, row by row.

    Args:
        config: the repository, the path in it and the remote.
        before: a commit, tag or branch.
        after: another.

    Raises:
        UserError: a revision is unknown, its manifest is in neither store, or the remote does not answer.
    """
    first, second = (resolve_revision(config.model_copy(update={"revision": name})) for name in (before, after))
    with open_stores(second.repository, config.remote, f"comparing {first} with {second}", second.commit) as stores:
        old, new = Contents(first, stores), Contents(second, stores)
        return DataDifference(
            Side(first.commit, old.manifest.digest),
            Side(second.commit, new.manifest.digest),
            _compare_tables(old, new),
            _compare_quarantines(old, new),
        )


def difference_table(difference: DataDifference) -> "Group":
    """A comparison for people, with a few identifiers of each kind."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    if difference.same:
        return Group(f"same data: digest {difference.before.digest}")
    tables = Table("set", "table", "split", "rows", "added", "removed", "changed")
    for table in difference.tables:
        rows = table.rows
        cells = [escape(_some(kind)) for kind in vars(rows).values()] if rows is not None else ["not in reach"] * 3
        tables.add_row(table.set, table.table, table.split, f"{table.before:,} -> {table.after:,}", *cells)
    left_out = Table("set", "left out", "records")
    for entry in difference.left_out:
        left_out.add_row(entry.set, entry.reason.replace("_", " "), f"{entry.before:,} -> {entry.after:,}")
    shown = [table for table in (tables, left_out) if table.row_count]
    return Group(*shown) if shown else Group("the same rows, stored in other shards")


def _some(identifiers: list[str]) -> str:
    more = ["..."] if len(identifiers) > _SHOWN else []
    return "\n".join([f"{len(identifiers):,}", *identifiers[:_SHOWN], *more])


def _compare_tables(old: Contents, new: Contents) -> list[TableDifference]:
    keys = dict.fromkeys(
        (shard.table, shard.set, shard.split)
        for side in (old, new)
        for shard in side.manifest.shards
        if shard.table != "quarantine"
    )
    compared = [
        TableDifference(*key, _count(old, *key), _count(new, *key), row_changes(old, new, *key)) for key in keys
    ]
    return [table for table in compared if table.rows is None or table.rows or table.before != table.after]


def _count(contents: Contents, table: str, set_name: str, split: str | None) -> int:
    manifest = contents.manifest
    if split is None:
        return sum(shard.rows for shard in manifest.shards if (shard.table, shard.set) == (table, set_name))
    return manifest.sets[set_name].counts.get(split, 0) if set_name in manifest.sets else 0


def _compare_quarantines(old: Contents, new: Contents) -> list[LeftOut]:
    then, now = (
        {
            (name, reason): count
            for name, numbers in side.manifest.sets.items()
            for reason, count in numbers.quarantined.items()
        }
        for side in (old, new)
    )
    counts = {key: (then.get(key, 0), now.get(key, 0)) for key in {**then, **now}}
    return [LeftOut(*key, *numbers) for key, numbers in counts.items() if numbers[0] != numbers[1]]
