"""What every source yields: a row of a table, with the pictures that it needs and where they may lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eve_core.errors import UserError


@dataclass(frozen=True)
class PictureFile:
    """A picture that an annotation refers to."""

    image_id: str
    """Its identifier in the prepared data, "coco/391895"."""
    name: str
    """Its file name in the public set."""
    candidates: tuple[Path, ...]
    """Where the file may be, most likely first."""


@dataclass(frozen=True)
class Annotation:
    """One annotation of a public set."""

    row: dict[str, Any]
    """A value for every column of its table."""
    pictures: tuple[PictureFile, ...]
    """The pictures it needs: one, or two for NLVR2."""


def pictures_folder(folder: Path, set_name: str) -> Path:
    """`folder` when it is one.

    Raises:
        UserError: it does not exist or is a file.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} of {set_name} does not exist; check the path to its images")
    return folder


def claim(key: object, taken: set[Any], where: str, what: str) -> None:
    """Note that `key` occurs.

    Raises:
        UserError: it occurred before.
    """
    if key in taken:
        raise UserError(f"{where}: {what} {key} occurs twice; remove one, or the file that repeats it")
    taken.add(key)
