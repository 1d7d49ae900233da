"""Small prepared folders, written row by row."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eve_core.data.manifest import Manifest, SetSummary
from eve_core.data.prepared import PreparedData
from eve_core.data.shards import ShardWriter

Rows = dict[tuple[str, str, str | None], list[dict[str, Any]]]
Prepare = Callable[[Rows], PreparedData]


def picture(image_id: str, **changes: Any) -> dict[str, Any]:
    content = image_id.encode()
    row = {
        "image_id": image_id,
        "file_name": f"{image_id.split('/')[1]}.jpg",
        "width": 64,
        "height": 48,
        "format": "JPEG",
        "mode": "RGB",
        "sha256": hashlib.sha256(content).hexdigest(),
        "phash": hashlib.sha256(content).digest(),
        "coco_id": None,
        "bytes": content,
    }
    return row | changes


def question(question_id: int, image_id: str, **changes: Any) -> dict[str, Any]:
    row = {
        "question_id": question_id,
        "image_id": image_id,
        "question": "What colour is the circle?",
        "question_type": "what color is the",
        "answer_type": "other",
        "answers": ["red"] * 10,
        "answer": "red",
        "split": "train",
    }
    return row | changes


def caption(caption_id: str, image_id: str, **changes: Any) -> dict[str, Any]:
    return {"caption_id": caption_id, "image_id": image_id, "caption": "a red circle", "split": "train"} | changes


def statement(statement_id: str, left: str, right: str, **changes: Any) -> dict[str, Any]:
    row = {
        "statement_id": statement_id,
        "left_image_id": left,
        "right_image_id": right,
        "statement": "Both pictures show a circle.",
        "label": True,
        "split": "train",
    }
    return row | changes


def good_rows() -> Rows:
    """A small data set of every kind that breaks no rule, near the edges of what is allowed."""
    return {
        ("images", "coco", None): [picture(f"coco/{number}") for number in range(6)]
        + [picture("coco/large", width=20000, height=5000, format="PNG", mode="L")],
        ("images", "nlvr2", None): [picture(f"nlvr2/{number}") for number in range(4)],
        ("captions", "coco_captions", "train"): [caption("1", "coco/0"), caption("2", "coco/1", caption="x " * 100)],
        ("captions", "coco_captions", "val"): [caption("4", "coco/2", split="val")],
        ("questions", "vqa_v2", "train"): [question(1, "coco/0"), question(2, "coco/1", answer_type="yes/no")],
        # An evaluation split of one set may well be trained on in another.
        ("questions", "vqa_v2", "test"): [
            question(3, "coco/2", split="test", answers=[], answer=None, answer_type=None, question_type=None)
        ],
        ("questions", "visual_genome_qa", "train"): [
            question(4, "coco/0", answers=["red"], answer_type=None, question_type=None)
        ],
        ("statements", "nlvr2", "train"): [statement("a", "nlvr2/0", "nlvr2/0"), statement("b", "nlvr2/0", "nlvr2/1")],
        ("statements", "nlvr2", "dev"): [statement("c", "nlvr2/2", "nlvr2/3", label=False, split="dev")],
        ("statements", "nlvr2", "test2"): [statement("d", "nlvr2/2", "nlvr2/3", label=None, split="test2")],
    }


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Writes rows by (table, set, split) as a prepared folder."""

    def write(rows: Rows) -> PreparedData:
        folder = tmp_path / "prepared"
        shards, sets = [], {}
        for (table, set_name, split), table_rows in rows.items():
            with ShardWriter(folder, table, set_name, split) as writer:
                for row in table_rows:
                    writer.write(row)
            shards += writer.shards
            if split is not None:
                sets.setdefault(set_name, SetSummary()).counts[split] = len(table_rows)
        Manifest(shards=tuple(shards), sets=sets).write(folder)
        return PreparedData.open(folder)

    return write


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def _no_data_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Great Expectations' pages take a third of the time of a small validation."""
    monkeypatch.setattr("great_expectations.data_context.AbstractDataContext.build_data_docs", lambda self: {})
