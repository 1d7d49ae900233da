"""COCO Captions, in the official form and in Karpathy's."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from eve_core.config import CocoCaptionsSource
from eve_core.data.sources.annotation import Annotation, PictureFile, Rejected, pictures_folder, unused
from eve_core.data.sources.coco_pictures import coco_picture
from eve_core.data.sources.files import stem
from eve_core.data.sources.json_files import Record, each, read_json
from eve_core.errors import UserError

_SUBSET = re.compile(r"(train|val)20\d\d")


def read(source: CocoCaptionsSource) -> Iterator[Annotation | Rejected]:
    """Every caption of the files, in their order.

    The split of an official file's picture is that of its name (COCO_train2014_..., COCO_val2014_...), else the one in
    the file's name; Karpathy's files say it, and their restval counts as train.

    Raises:
        UserError: a file is missing, broken or of neither form, or files of both forms are given.
    """
    folder = pictures_folder(source.images, source.set)
    taken: set[int] = set()
    forms: dict[str, Path] = {}
    for path in source.annotations:
        content = read_json(path, "the captions file")
        is_official = "annotations" in content
        forms["official" if is_official else "Karpathy"] = path
        if len(forms) == 2:
            official, karpathy = forms["official"], forms["Karpathy"]
            raise UserError(f"{official} and {karpathy} hold the same captions in two forms; name only one of them")
        if is_official:
            yield from _read_official(content, path, folder, taken)
        else:
            read_image = partial(_read_karpathy, folder=folder, listed=set(), taken=taken)
            yield from each(content.records("images"), "cocoid", read_image)


def _read_official(content: Record, path: Path, folder: Path, taken: set[int]) -> Iterator[Annotation | Rejected]:
    pictures: dict[int, PictureFile] = {}
    subsets: dict[int, str] = {}
    listed: set[int] = set()
    used: set[int] = set()

    def add_picture(image: Record) -> Iterable[Annotation]:
        number, name = image.claim(image.number("id"), listed), image.file_name("file_name")
        subset = _SUBSET.search(name) or _SUBSET.search(stem(path))
        if subset is None:
            raise UserError(
                f"{path}: neither the picture name {name} nor the file's name says train or val; "
                "name the file as COCO does (captions_train2014.json)"
            )
        subsets[number] = subset.group()
        pictures[number] = coco_picture(folder, number, name, subset=subset.group())
        return ()

    def read_caption(caption: Record) -> Iterable[Annotation]:
        number = caption.number("image_id")
        if number not in pictures:
            caption.fail(f"refers to picture {number}, which .images does not list", "unknown_picture")
        used.add(number)
        split = subsets[number].rstrip("0123456789")
        yield _annotation(caption, "id", "caption", pictures[number], split, taken)

    yield from each(content.records("images"), "id", add_picture)
    yield from each(content.records("annotations"), "id", read_caption)
    yield from unused(picture for number, picture in pictures.items() if number not in used)


def _read_karpathy(image: Record, folder: Path, listed: set[int], taken: set[int]) -> Iterator[Annotation | Rejected]:
    subset = image.file_name("filepath") if image.optional_text("filepath") else None
    number = image.claim(image.number("cocoid"), listed)
    picture = coco_picture(folder, number, image.file_name("filename"), subset=subset)
    split = "train" if image.text("split") == "restval" else image.text("split")

    def read_sentence(sentence: Record) -> Iterable[Annotation]:
        yield _annotation(sentence, "sentid", "raw", picture, split, taken)

    yield from each(image.records("sentences"), "sentid", read_sentence, split)
    yield from unused([] if image.values("sentences") else [picture])


def _annotation(record: Record, key: str, text: str, picture: PictureFile, split: str, taken: set[int]) -> Annotation:
    row = {
        "caption_id": str(record.claim(record.number(key), taken)),
        "image_id": picture.image_id,
        "caption": record.text(text),
        "split": split,
    }
    return Annotation(row, (picture,))
