"""COCO's pictures: their names, identifiers and folders, shared by COCO Captions and VQA v2."""

from pathlib import Path

from eve_core.data.sources.annotation import PictureFile

_SUBSETS = ("train2014", "val2014")


def coco_picture(folder: Path, number: int, *names: str, subset: str | None = None) -> PictureFile:
    """The picture with COCO's `number`.

    Args:
        folder: holds the pictures, directly or in train2014 and val2014.
        number: COCO's number, unique over all its subsets.
        names: its possible file names, most likely first.
        subset: a sub-folder that is looked into first.
    """
    places = ["", *dict.fromkeys((subset, *_SUBSETS) if subset else _SUBSETS)]
    # A name may hold a path; only its last part counts, so that a file cannot point outside of the folder.
    bare = [Path(name).name for name in names]
    return PictureFile(f"coco/{number}", bare[0], tuple(folder / place / name for name in bare for place in places))
