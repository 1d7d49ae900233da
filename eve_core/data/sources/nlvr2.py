"""NLVR2: a statement about two photographs, one JSON object a line."""

import re
from collections.abc import Iterator
from pathlib import Path

from eve_core.config import Nlvr2Source
from eve_core.data.sources.annotation import Annotation, PictureFile, claim, pictures_folder
from eve_core.data.sources.json_files import Record, read_json_lines, stem
from eve_core.errors import UserError

_SPLIT = re.compile(r"train|dev|test\d?")
_LABELS = {"True": True, "False": False}


def read(source: Nlvr2Source) -> Iterator[Annotation]:
    """Every statement of the files, in their order; the split is the one in the file's name (train, dev, test1).

    Raises:
        UserError: a file is missing, broken or not named after a split, a label is neither "True" nor "False", or an
            identifier has another form or occurs twice.
    """
    folder = pictures_folder(source.images, source.set)
    taken: set[str] = set()
    for path in source.statements:
        match = _SPLIT.search(stem(path))
        if match is None:
            raise UserError(
                f"{path} is not named after its split; name it as NLVR2 does (train.json, dev.json, test1.json)"
            )
        split = match.group()
        for line in read_json_lines(path, "the statements file"):
            identifier = line.text("identifier")
            claim(identifier, taken, line.where, "the identifier")
            left, right = _pictures(line, identifier, folder, split)
            row = {
                "statement_id": identifier,
                "left_image_id": left.image_id,
                "right_image_id": right.image_id,
                "statement": line.text("sentence"),
                "label": _label(line),
                "split": split,
            }
            yield Annotation(row, (left, right))


def _pictures(line: Record, identifier: str, folder: Path, split: str) -> list[PictureFile]:
    """The left and the right picture: dev-850-0-1 is a statement about dev-850-0-img0.png and dev-850-0-img1.png."""
    parts = identifier.rsplit("-", 1)
    if len(parts) != 2 or Path(identifier).name != identifier:
        line.fail(f"the identifier {identifier!r} is not of the form dev-850-0-1")
    places = [folder, folder / split]
    directory = line.optional_number("directory")  # train's pictures are officially spread over numbered folders
    if directory is not None:
        places.append(folder / split / str(directory))
    names = [f"{parts[0]}-img{side}.png" for side in (0, 1)]
    return [PictureFile(f"nlvr2/{Path(n).stem}", n, tuple(place / n for place in places)) for n in names]


def _label(line: Record) -> bool | None:
    """The label, None when it is withheld."""
    if "label" not in line:
        return None
    label = line.text("label")
    if label not in _LABELS:
        line.fail(f'the label is {label!r} and must be "True" or "False"')
    return _LABELS[label]
