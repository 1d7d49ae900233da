"""The promotion log: append-only, in the order in which it happened, and whole.

It is a registered model of its own, `<model>-promotions`, and every entry is a version of it: MLflow numbers versions
in the order in which they come, each in one transaction with its tags, so that no two entries can be at one place and
none is half written, whatever server it is and however many processes write.

An entry names the digest of the last entry that its writer knew. Of two that were written at once, the later one is
therefore void: nothing followed from it, and whoever wrote it looks again. The champion is what the other entries lead
to, one after the other.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from eve_core.errors import UserError
from eve_core.registry.tracking import Tracking

_ENTRY, _DIGEST = "eve.promotion", "eve.promotion_digest"
_FIRST = ""


@dataclass(frozen=True)
class LogEntry:
    """One line of the promotion log."""

    kind: str
    """promotion or rollback."""
    from_version: str | None
    """The champion until then."""
    to_version: str
    """The champion from then on."""
    at: str
    """Time, UTC, ISO 8601."""
    by: str
    """User name of the process."""
    reason: str
    """Why, in the words given to the command."""
    blessing_digest: str
    """Digest of the version's blessing."""
    after: str
    """Digest of the entry before; empty in the first."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of all fields, that of the entry before included."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def append(tracking: Tracking, name: str, version: Any, entry: LogEntry) -> bool:
    """Add an entry.

    Args:
        tracking: where the registry is.
        name: the registered model that it is about.
        version: MLflow's entity of the version that becomes champion.
        entry: what happens.

    Returns:
        False when another process was quicker, so that nothing follows from this entry.
    """
    from mlflow.exceptions import MlflowException

    client = tracking.client
    try:
        client.create_registered_model(log_name(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(
        log_name(name),
        source=version.source,
        run_id=version.run_id,
        tags={_ENTRY: json.dumps(asdict(entry)), _DIGEST: entry.digest},
        model_id=version.source.removeprefix("models:/"),  # a server wants it, and does not give it back
    )
    return any(known.digest == entry.digest for known in read(tracking, name))  # others may have followed


def read(tracking: Tracking, name: str) -> list[LogEntry]:
    """The entries that count, oldest first.

    Raises:
        UserError: an entry was changed, or is missing.
    """
    entries: list[LogEntry] = []
    last = _FIRST
    for entry in _all(tracking, name):
        if entry.after == last:
            entries.append(entry)
            last = entry.digest
        elif entry.after not in {_FIRST, *(known.digest for known in entries)}:
            raise UserError(
                f"the promotion log {log_name(name)} lacks the entry before that of {entry.at} (to version "
                f"{entry.to_version}); restore it from a backup of the MLflow database"
            )
    return entries


def log_name(name: str) -> str:
    """The registered model that holds the log of another."""
    return f"{name}-promotions"


def _all(tracking: Tracking, name: str) -> Iterator[LogEntry]:
    found = tracking.client.search_model_versions(f"name = '{log_name(name)}'")
    numbers = sorted(int(version.version) for version in found)
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(
            f"the promotion log {log_name(name)} lacks entries (it has {len(numbers)}, up to number {numbers[-1]}); "
            "restore it from a backup of the MLflow database"
        )
    for version in sorted(found, key=lambda version: int(version.version)):
        try:
            entry = LogEntry(**json.loads(version.tags[_ENTRY]))
            sound = version.tags[_DIGEST] == entry.digest
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise UserError(
                f"entry {version.version} of the promotion log {log_name(name)} was changed after it was written; "
                "restore it from a backup of the MLflow database"
            )
        yield entry
