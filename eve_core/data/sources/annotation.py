"""What every source yields: a row of a table with the pictures that it needs, or why a record became no row."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eve_core.data import locations
from eve_core.data.locations import Location
from eve_core.errors import UserError


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture that an annotation refers to."""

    image_id: str
    """Its identifier in the prepared data, "coco/391895"."""
    name: str
    """Its file name in the public set."""
    candidates: tuple[Location, ...]
    """Where its bytes may be, most likely first."""
    coco_id: int | None = None
    """COCO's number of the same photograph, where the set says it: COCO, VQA and Visual Genome share pictures."""

    def row(self) -> dict[str, Any]:
        """The same as plain values, to be kept in a file."""
        candidates = json.dumps([locations.as_json(place) for place in self.candidates])
        return {"image_id": self.image_id, "name": self.name, "coco_id": self.coco_id, "candidates": candidates}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "PictureFile":
        """The inverse of `row`."""
        candidates = tuple(locations.from_json(place) for place in json.loads(row["candidates"]))
        return cls(row["image_id"], row["name"], candidates, row["coco_id"])


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a public set."""

    row: dict[str, Any]
    """A value for every column of its table."""
    pictures: tuple[PictureFile, ...]
    """The pictures it needs: one, or two for NLVR2."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no annotation."""

    row_id: str
    """Its identifier, or its place in the file where it has none."""
    reason: str
    """One of a few words, such as duplicate_id, bad_record, wrong_label."""
    detail: str
    """What is wrong with it and where it stands."""
    split: str | None = None
    """Its split, where that is known."""


UNUSED_PICTURE = "unused_picture"
"""The reason of a listed picture that no annotation speaks of. It is told, but no annotation is missing for that:
whole public sets have some, as Visual Genome has pictures without questions."""


def unused(pictures: Iterable[PictureFile]) -> Iterator[Rejected]:
    """What a reader yields for listed pictures without annotation; they have no split, whose rows are counted."""
    for picture in pictures:
        yield Rejected(picture.image_id, UNUSED_PICTURE, f"nothing is said about the picture {picture.name}")


def pictures_folder(folder: Path, set_name: str) -> Path:
    """`folder` when it is one.

    Raises:
        UserError: it does not exist or is a file.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} of {set_name} does not exist; check the path to its images")
    return folder
