"""Readers of public sets in their own on-disk forms, one module a family of sets."""

from collections.abc import Iterator
from typing import assert_never

from eve_core.config import (
    CocoCaptionsSource,
    FlickrSource,
    Nlvr2Source,
    SourceConfig,
    VisualGenomeQaSource,
    VisualGenomeSource,
    VqaV2Source,
    WebCaptionsSource,
)
from eve_core.data.sources import coco_captions, flickr, nlvr2, visual_genome, vqa_v2, web_captions
from eve_core.data.sources.annotation import Annotation, Rejected


def read_source(source: SourceConfig) -> Iterator[Annotation | Rejected]:
    """Every record of a public set, in the order of its files: a row with its pictures, or why it became none.

    Raises:
        UserError: a file as a whole is missing, broken or of another form.
    """
    match source:
        case CocoCaptionsSource():
            return coco_captions.read(source)
        case FlickrSource():
            return flickr.read(source)
        case Nlvr2Source():
            return nlvr2.read(source)
        case VisualGenomeSource():
            return visual_genome.read_regions(source)
        case VisualGenomeQaSource():
            return visual_genome.read_questions(source)
        case VqaV2Source():
            return vqa_v2.read(source)
        case WebCaptionsSource():
            return web_captions.read(source)
        case _:
            assert_never(source)
