"""`manifest.json`: which shards a prepared folder holds, how many rows each set has, and what was left out of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eve_core.errors import UserError

MANIFEST_NAME = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Shard:
    """One Parquet file."""

    path: str
    """Where it is, relative to the prepared folder, with forward slashes."""
    table: str
    """images, captions, questions, statements or quarantine."""
    set: str
    """The public set; for pictures their namespace."""
    split: str | None
    """The set's split; None for pictures."""
    rows: int
    """Rows in it."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Of the file."""


@dataclass(frozen=True)
class SetSummary:
    """What became of a public set's annotations."""

    counts: dict[str, int] = field(default_factory=dict)
    """Rows that readers see, by split."""
    quarantined: dict[str, int] = field(default_factory=dict)
    """Records that they do not see, by reason (missing_picture, unreadable_picture, empty_caption, ...)."""
    quarantined_examples: dict[str, list[str]] = field(default_factory=dict)
    """Up to five of them by reason; the shards of the table `quarantine` have all."""
    notes: list[str] = field(default_factory=list)
    """Where the number of records differs from the published one."""


@dataclass(frozen=True)
class Manifest:
    """The contents of a prepared folder; equal contents have equal digests on every machine."""

    shards: tuple[Shard, ...] = ()
    """All shards, pictures first."""
    sets: dict[str, SetSummary] = field(default_factory=dict)
    """The public sets by name."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of shards and sets."""
        canonical = json.dumps(self._contents(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`, which is not at its final place yet."""
        text = json.dumps({"format": FORMAT, "digest": self.digest, **self._contents()}, indent=1, sort_keys=False)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of the prepared folder `folder`.

        Raises:
            UserError: there is none, it is no manifest of a known format, or it was changed by hand.
        """
        path = folder / MANIFEST_NAME
        if not path.is_file():
            raise UserError(
                f"{folder} holds no prepared data ({MANIFEST_NAME} is missing); run `eve data prepare` first"
            )
        try:
            tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if tree["format"] != FORMAT:
                raise UserError(
                    f"{path} has format {tree['format']!r} and this version reads format {FORMAT}; "
                    "prepare the data again with `eve data prepare`"
                )
            manifest = cls(
                shards=tuple(Shard(**shard) for shard in tree["shards"]),
                sets={name: SetSummary(**summary) for name, summary in tree["sets"].items()},
            )
            recorded = tree["digest"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}); fetch the data set again or prepare it again"
            ) from None
        if recorded != manifest.digest:
            raise UserError(
                f"{path} does not have the digest it records, so it was changed after it was written; "
                "fetch the data set again or prepare it again"
            )
        return manifest

    def _contents(self) -> dict[str, Any]:
        return {
            "shards": [asdict(shard) for shard in self.shards],
            "sets": {name: asdict(summary) for name, summary in self.sets.items()},
        }
