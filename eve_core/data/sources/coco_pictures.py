"""COCO's pictures: their names, identifiers and folders, shared by COCO Captions and VQA v2."""

from pathlib import Path

from eve_core.data.sources.annotation import PictureFile

_SUBSETS = ("train2014", "val2014")


def coco_picture(folder: Path, number: int, *names: str, subset: str | None) -> PictureFile:
    """The picture with COCO's `number`.

    Args:
        folder: holds the pictures, directly or in a sub-folder a subset (train2014, val2014).
        number: COCO's number, unique over all its subsets.
        names: its possible file names, most likely first.
        subset: the one that it belongs to, as far as is known.
    """
    places = dict.fromkeys((subset or ".", ".", *_SUBSETS))
    candidates = tuple(folder / f"{place}/{name}" for name in names for place in places)
    return PictureFile(f"coco/{number}", names[0], candidates, number)
