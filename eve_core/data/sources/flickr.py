"""Flickr8k and Flickr30k in Karpathy's form."""

from collections.abc import Iterator
from pathlib import Path

from eve_core.config import FlickrSource
from eve_core.data.sources.annotation import Annotation, PictureFile, claim, pictures_folder
from eve_core.data.sources.json_files import read_json


def read(source: FlickrSource) -> Iterator[Annotation]:
    """Every caption of the file, in its order, with the split that the file gives to its picture.

    Raises:
        UserError: the file is missing, broken or of another form, or a sentence occurs twice.
    """
    folder = pictures_folder(source.images, source.set)
    content = read_json(source.annotations, "the annotations file")
    sentences: set[str] = set()
    names: set[str] = set()
    for image in content.records("images"):
        name = Path(image.text("filename")).name
        claim(name, names, image.where, "the picture")
        picture = PictureFile(f"{source.set}/{Path(name).stem}", name, (folder / name,))
        split = image.text("split")
        for sentence in image.records("sentences"):
            caption_id = str(sentence.number("sentid"))
            claim(caption_id, sentences, sentence.where, "the sentence id")
            row = {
                "caption_id": caption_id,
                "image_id": picture.image_id,
                "caption": sentence.text("raw"),
                "split": split,
            }
            yield Annotation(row, (picture,))
