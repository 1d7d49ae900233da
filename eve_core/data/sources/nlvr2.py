"""NLVR2: a statement about two photographs, one JSON object a line."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from eve_core.config import Nlvr2Source
from eve_core.data.sources.annotation import Annotation, PictureFile, Rejected, pictures_folder
from eve_core.data.sources.bad_record import last_part
from eve_core.data.sources.files import stem
from eve_core.data.sources.json_files import Record, each, read_json_lines
from eve_core.errors import UserError

_SPLIT = re.compile(r"train|dev|test\d?")
_IDENTIFIER = re.compile(r"([^/]+)-[^/-]+")
_LABELS = {"True": True, "False": False}


def read(source: Nlvr2Source) -> Iterator[Annotation | Rejected]:
    """Every statement of the files, in their order; the split is the one in the file's name (train, dev, test1).

    Raises:
        UserError: a file is missing, broken or not named after a split.
    """
    folder = pictures_folder(source.images, source.set)
    taken: set[str] = set()
    for path in source.statements:
        match = _SPLIT.search(stem(path))
        if match is None:
            raise UserError(
                f"{path} is not named after its split; name it as NLVR2 does (train.json, dev.json, test1.json)"
            )
        yield from _read_split(path, match.group(), folder, taken)


def _read_split(path: Path, split: str, folder: Path, taken: set[str]) -> Iterator[Annotation | Rejected]:
    def read_statement(line: Record) -> Iterable[Annotation]:
        identifier = line.claim(line.text("identifier"), taken)
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

    yield from each(read_json_lines(path, "the statements file"), "identifier", read_statement, split)


def _pictures(line: Record, identifier: str, folder: Path, split: str) -> list[PictureFile]:
    """The left and the right picture: dev-850-0-1 is a statement about dev-850-0-img0.png and dev-850-0-img1.png."""
    last_part(identifier, line.where)
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        line.fail(f"the identifier {identifier!r} is not of the form dev-850-0-1")
    # The official archives unpack into images/train/63, dev and test1; 63 is the statement's `directory`.
    directory = line.optional_number("directory")
    insides = ["", split] if directory is None else ["", split, f"{split}/{directory}"]
    places = [base / inside for base in (folder, folder / "images") for inside in insides]
    names = [f"{match.group(1)}-img{side}.png" for side in (0, 1)]
    return [PictureFile(f"nlvr2/{Path(n).stem}", n, tuple(place / n for place in places)) for n in names]


def _label(line: Record) -> bool | None:
    """The label, None when it is withheld."""
    label = line.get("label")
    if label is not None and str(label) not in _LABELS:
        line.fail(f'the label is {label!r} and must be "True" or "False"', "wrong_label")
    return _LABELS.get(str(label))
