"""COCO Captions, in the official form and in Karpathy's."""

from collections.abc import Iterator
from pathlib import Path

from eve_core.config import CocoCaptionsSource
from eve_core.data.sources.annotation import Annotation, claim, pictures_folder
from eve_core.data.sources.coco_pictures import coco_picture
from eve_core.data.sources.json_files import Record, read_json, stem
from eve_core.errors import UserError


def read(source: CocoCaptionsSource) -> Iterator[Annotation]:
    """Every caption of the files, in their order.

    The split of an official file's picture is that of its name (COCO_train2014_..., COCO_val2014_...), else the one in
    the file's name; Karpathy's files say it, and their restval counts as train.

    Raises:
        UserError: a file is missing, broken or of neither form, a caption refers to no picture or occurs twice, or
            files of both forms are given.
    """
    folder = pictures_folder(source.images, source.set)
    taken: set[str] = set()
    forms: dict[str, Path] = {}
    for path in source.annotations:
        content = read_json(path, "the captions file")
        is_official = "annotations" in content
        forms["official" if is_official else "Karpathy"] = path
        if len(forms) == 2:
            official, karpathy = forms["official"], forms["Karpathy"]
            raise UserError(f"{official} and {karpathy} hold the same captions in two forms; name only one of them")
        yield from (_read_official if is_official else _read_karpathy)(content, path, folder, taken)


def _read_official(content: Record, path: Path, folder: Path, taken: set[str]) -> Iterator[Annotation]:
    names = {image.number("id"): image.text("file_name") for image in content.records("images")}
    pictures = {number: coco_picture(folder, number, name) for number, name in names.items()}
    for caption in content.records("annotations"):
        picture = pictures.get(caption.number("image_id"))
        if picture is None:
            caption.fail(f"refers to picture {caption.number('image_id')}, which .images does not list")
        caption_id = str(caption.number("id"))
        claim(caption_id, taken, caption.where, "the caption id")
        row = {
            "caption_id": caption_id,
            "image_id": picture.image_id,
            "caption": caption.text("caption"),
            "split": _official_split(picture.name, path),
        }
        yield Annotation(row, (picture,))


def _official_split(picture_name: str, path: Path) -> str:
    for name in (picture_name, stem(path)):
        for split in ("train", "val"):
            if f"_{split}20" in name:
                return split
    raise UserError(
        f"{path}: neither the picture name {picture_name} nor the file's name says train or val; "
        "name the file as COCO does (captions_train2014.json)"
    )


def _read_karpathy(content: Record, path: Path, folder: Path, taken: set[str]) -> Iterator[Annotation]:
    for image in content.records("images"):
        subset = image.optional_text("filepath")
        picture = coco_picture(folder, image.number("cocoid"), image.text("filename"), subset=subset)
        split = image.text("split")
        for sentence in image.records("sentences"):
            caption_id = str(sentence.number("sentid"))
            claim(caption_id, taken, sentence.where, "the sentence id")
            row = {
                "caption_id": caption_id,
                "image_id": picture.image_id,
                "caption": sentence.text("raw"),
                "split": "train" if split == "restval" else split,
            }
            yield Annotation(row, (picture,))
