"""What rows of SBU, CC3M and CC12M have in common, however their pictures were downloaded."""

from eve_core.data.locations import Location
from eve_core.data.sources.annotation import Annotation, PictureFile
from eve_core.data.sources.files import split_in


def web_split(set_name: str, *names: str) -> str:
    """val where the first of the names that speaks of a split says so, else train; only CC3M has the two.

    CC3M's files are Train_GCC-training.tsv and Validation_GCC-1.1.0-Validation.tsv.
    """
    spoken = [split for split in map(split_in, names) if split is not None]
    return "val" if set_name == "cc3m" and spoken[:1] == ["val"] else "train"


def web_row_id(key: str, split: str) -> str:
    """The identifier of a row and its picture; `key` begins anew in every split."""
    return key if split == "train" else f"{split}-{key}"


def web_annotation(
    set_name: str, split: str, key: str, caption: str, file_name: str, candidates: tuple[Location, ...]
) -> Annotation:
    """The row of one caption."""
    row_id = web_row_id(key, split)
    picture = PictureFile(f"{set_name}/{row_id}", file_name, candidates)
    row = {"caption_id": row_id, "image_id": picture.image_id, "caption": caption, "split": split}
    return Annotation(row, (picture,))
