"""The tables of a prepared data set: their columns, which set fills which of them, and where a set's pictures live."""

from typing import Literal

import pyarrow as pa

Kind = Literal["images", "captions", "questions", "statements"]

_TEXT, _ID = pa.string(), pa.string()

SCHEMAS: dict[str, pa.Schema] = {
    # One row a picture. `bytes` are the original file, never re-encoded; the other columns were read from it.
    "images": pa.schema(
        [
            pa.field(
                "image_id", _ID, nullable=False
            ),  # "coco/391895", "nlvr2/dev-850-0-img0", "flickr8k/1191338263_a4f"
            pa.field("file_name", _TEXT, nullable=False),
            pa.field("width", pa.int32(), nullable=False),  # pixels
            pa.field("height", pa.int32(), nullable=False),
            pa.field("format", _TEXT, nullable=False),  # Pillow's names: "JPEG", "PNG"
            pa.field("mode", _TEXT, nullable=False),  # Pillow's names: "RGB", "L"
            pa.field("sha256", _TEXT, nullable=False),
            pa.field("bytes", pa.large_binary(), nullable=False),
        ]
    ),
    "captions": pa.schema(
        [
            pa.field("caption_id", _ID, nullable=False),
            pa.field("image_id", _ID, nullable=False),
            pa.field("caption", _TEXT, nullable=False),
            pa.field("split", _TEXT, nullable=False),
        ]
    ),
    "questions": pa.schema(
        [
            pa.field("question_id", pa.int64(), nullable=False),
            pa.field("image_id", _ID, nullable=False),
            pa.field("question", _TEXT, nullable=False),
            pa.field("question_type", _TEXT),  # null when unknown, as the three below
            pa.field("answer_type", _TEXT),
            pa.field("answers", pa.list_(_TEXT), nullable=False),  # ten; empty when unknown
            pa.field("answer", _TEXT),  # the official multiple_choice_answer
            pa.field("split", _TEXT, nullable=False),
        ]
    ),
    "statements": pa.schema(
        [
            pa.field("statement_id", _ID, nullable=False),  # NLVR2's identifier
            pa.field("left_image_id", _ID, nullable=False),
            pa.field("right_image_id", _ID, nullable=False),
            pa.field("statement", _TEXT, nullable=False),
            pa.field("label", pa.bool_()),  # null when unknown
            pa.field("split", _TEXT, nullable=False),
        ]
    ),
}

KIND_OF_SET: dict[str, Kind] = {
    "coco_captions": "captions",
    "flickr8k": "captions",
    "flickr30k": "captions",
    "vqa_v2": "questions",
    "nlvr2": "statements",
}
"""Which table a public set fills."""

NAMESPACE_OF_SET = {
    "coco_captions": "coco",
    "vqa_v2": "coco",
    "nlvr2": "nlvr2",
    "flickr8k": "flickr8k",
    "flickr30k": "flickr30k",
}
"""Which folder of pictures a public set refers to; COCO's pictures are shared."""

TEXT_COLUMN: dict[str, str] = {"captions": "caption", "questions": "question", "statements": "statement"}
"""The column of a table that must not be empty."""
