"""The tables of a prepared data set: their columns, which set fills which of them, and where a set's pictures live."""

from typing import Literal

import pyarrow as pa

Kind = Literal["images", "captions", "questions", "statements", "quarantine"]

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
            pa.field("phash", pa.binary(32), nullable=False),  # perceptual hash, equal or close for copies of a picture
            pa.field("coco_id", pa.int64()),  # COCO's number of the photograph, where the set says it
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
            pa.field("answers", pa.list_(_TEXT), nullable=False),  # ten; one in Visual Genome; empty when unknown
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
    # One row an annotation that no reader of the set gets to see, with the reason.
    "quarantine": pa.schema(
        [
            pa.field("row_id", _TEXT, nullable=False),  # caption_id, question_id or statement_id, or a place in a file
            pa.field("split", _TEXT),  # null when unknown
            pa.field("reason", _TEXT, nullable=False),  # "missing_picture", "empty_caption", "leaks_into_vqa_v2_val"
            pa.field("detail", _TEXT, nullable=False),
        ]
    ),
}

QUARANTINE_FILE = "quarantine.parquet"
"""What validation calls its own quarantine, in its report: the columns of the table, and set."""

LEAK = "leaks_into_"
"""How the reasons of training rows begin that show a picture, or say a sentence, that a model is scored on.

Their rows are in the shards, since which of them leak depends on the other sets; `PreparedData` leaves them out.
"""

KIND_OF_SET: dict[str, Kind] = {
    "coco_captions": "captions",
    "visual_genome": "captions",
    "sbu": "captions",
    "cc3m": "captions",
    "cc12m": "captions",
    "flickr8k": "captions",
    "flickr30k": "captions",
    "vqa_v2": "questions",
    "visual_genome_qa": "questions",
    "nlvr2": "statements",
}
"""Which table a public set fills."""

NAMESPACE_OF_SET = {
    "coco_captions": "coco",
    "vqa_v2": "coco",
    "visual_genome": "visual_genome",
    "visual_genome_qa": "visual_genome",
    "sbu": "sbu",
    "cc3m": "cc3m",
    "cc12m": "cc12m",
    "nlvr2": "nlvr2",
    "flickr8k": "flickr8k",
    "flickr30k": "flickr30k",
}
"""Which folder of pictures a public set refers to; COCO's and Visual Genome's are shared."""

TEXT_COLUMN: dict[str, str] = {"captions": "caption", "questions": "question", "statements": "statement"}
"""The column of a table that must not be empty."""
