"""A record that is wrong in a file that is not: it becomes a `Rejected`, and the rest of the file is read."""

from pathlib import PurePosixPath

from eve_core.data.sources.annotation import Rejected
from eve_core.errors import UserError

_LONGEST_NAME = 240  # bytes; file systems take 255, and an ending may be added


class BadRecord(UserError):
    """One record of a file is wrong.

    Args:
        where: its file's name and its place there, without folders: what is rejected is part of the prepared data, and
            the digest of that must not depend on where the files were.
        problem: what is wrong with it.
        reason: the same in one snake_case word or a few.
    """

    def __init__(self, where: str, problem: str, reason: str = "bad_record") -> None:
        super().__init__(f"{where}: {problem}")
        self._reason = reason

    def rejected(self, row_id: str, split: str | None = None) -> Rejected:
        """What a reader yields in the record's place."""
        return Rejected(row_id, self._reason, str(self), split)


def last_part(path: str, where: str) -> str:
    """The name of the file that `path` names in some folder.

    Raises:
        BadRecord: `path` is absolute or climbs out of the folder (path_outside), or names no file.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise BadRecord(where, f"the path {path!r} points outside of its folder", "path_outside")
    if not pure.name or len(pure.name.encode()) > _LONGEST_NAME:
        raise BadRecord(where, f"{path[:40]!r} is no name of a file")
    return pure.name
