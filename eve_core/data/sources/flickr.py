"""Flickr8k and Flickr30k in three forms: Karpathy's JSON, the official token file, and JSON lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from eve_core.config import FlickrSource
from eve_core.data.sources.annotation import Annotation, PictureFile, Rejected, pictures_folder, unused
from eve_core.data.sources.bad_record import BadRecord, last_part
from eve_core.data.sources.files import read_lines, split_in, stem
from eve_core.data.sources.json_files import Record, each, read_json, read_json_lines
from eve_core.errors import UserError

_UNLISTED = "unlisted"
"""Split of the pictures that no list names: Flickr8k has 92 of them."""

_Names = dict[str, str]
"""By what identifies a picture, its name without ending, the file that it stands for."""


def read(source: FlickrSource) -> Iterator[Annotation | Rejected]:
    """Every caption of the file, in its order.

    Karpathy's form (.json) says the split of each picture. JSON lines (.jsonl: sentences, id, img_path) have the split
    in the file's name. Of the token form (NAME.jpg#0, a tab, the caption) the split is that of the list that names the
    picture, and train where no lists are given.

    Raises:
        UserError: a file is missing, broken or of another form.
    """
    pictures_folder(source.images, source.set)
    paths = [source.annotations] if isinstance(source.annotations, Path) else source.annotations
    readers = {".json": _read_karpathy, ".jsonl": _read_json_lines}
    forms = {path: readers.get(Path(path.name.removesuffix(".gz")).suffix, _read_tokens) for path in paths}
    if len({*forms.values()}) > 1:
        raise UserError(f"{paths[0]} and {paths[-1]} hold captions in different forms; name files of one form")
    if source.splits and _read_tokens not in forms.values():
        raise UserError(f"{paths[0]} says the splits itself; name no lists of splits, or name the token file instead")
    taken: set[str] = set()
    names: _Names = {}
    for path, read_file in forms.items():
        yield from read_file(path, source, taken, names)


def _read_karpathy(path: Path, source: FlickrSource, taken: set[str], names: _Names) -> Iterator[Annotation | Rejected]:
    def read_image(image: Record) -> Iterable[Annotation | Rejected]:
        picture = _picture(source, image.claim(image.file_name("filename"), taken), image.where, names)
        split = image.text("split")

        def read_sentence(sentence: Record) -> Iterable[Annotation]:
            caption_id = sentence.claim(str(sentence.number("sentid")), taken)
            yield _annotation(picture, caption_id, sentence.text("raw"), split)

        yield from each(image.records("sentences"), "sentid", read_sentence, split)
        yield from unused([] if image.values("sentences") else [picture])

    yield from each(read_json(path, "the annotations file").records("images"), "filename", read_image)


def _read_json_lines(
    path: Path, source: FlickrSource, taken: set[str], names: _Names
) -> Iterator[Annotation | Rejected]:
    split = split_in(stem(path))
    if split is None:
        raise UserError(f"{path} is not named after its split; name it so (valid_ann.jsonl)")

    def read_image(image: Record) -> Iterable[Annotation | Rejected]:
        picture = _picture(source, image.claim(image.file_name("img_path"), taken), image.where, names)
        for number, sentence in enumerate(image.texts("sentences")):
            yield _annotation(picture, f"{picture.name}#{number}", sentence, split)
        yield from unused([] if image.values("sentences") else [picture])

    yield from each(read_json_lines(path, "the annotations file"), "img_path", read_image, split)


def _read_tokens(path: Path, source: FlickrSource, taken: set[str], names: _Names) -> Iterator[Annotation | Rejected]:
    split_of = _listed(source.splits)
    for line in read_lines(path, "the captions file"):
        row_id = line.where
        try:
            identifier, tab, caption = line.text().partition("\t")
            picture, sign, number = identifier.rpartition("#")
            if not (tab and sign and number.isdecimal()):
                raise BadRecord(line.where, "is not of the form NAME.jpg#0, a tab, the caption")
            row_id = identifier
            if row_id in taken:
                raise BadRecord(line.where, f"the identifier {row_id} occurs twice", "duplicate_id")
            taken.add(row_id)
            name = last_part(picture, line.where)
            split = split_of.get(name.removesuffix(".jpg"), _UNLISTED) if split_of else "train"
            yield _annotation(_picture(source, name, line.where, names), row_id, caption, split)
        except BadRecord as error:
            yield error.rejected(row_id)


def _listed(lists: list[Path]) -> dict[str, str]:
    """The split of every picture in the lists, by its name without .jpg, which Flickr30k's lists leave out."""
    splits: dict[str, str] = {}
    for path in lists:
        split = split_in(stem(path))
        if split is None:
            raise UserError(f"{path} is not named after its split; name it so (Flickr_8k.devImages.txt)")
        for line in read_lines(path, "the list of a split's pictures"):
            name = line.text().strip().removesuffix(".jpg")
            if splits.setdefault(name, split) != split:
                raise UserError(
                    f"{path}, line {line.number}: {name} is in the list of {splits[name]} too; remove one of them"
                )
    return splits


def _picture(source: FlickrSource, name: str, where: str, names: _Names) -> PictureFile:
    key = Path(name).stem
    if names.setdefault(key, name) != name:
        raise BadRecord(where, f"the picture {name} has the name of {names[key]} but for its ending", "duplicate_id")
    return PictureFile(f"{source.set}/{key}", name, (source.images / name,))


def _annotation(picture: PictureFile, caption_id: str, caption: str, split: str) -> Annotation:
    row = {"caption_id": caption_id, "image_id": picture.image_id, "caption": caption, "split": split}
    return Annotation(row, (picture,))
