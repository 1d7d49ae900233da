"""VQA v2: official questions, and official annotations with the answers of ten people."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eve_core.config import VqaV2Source
from eve_core.data.sources.annotation import Annotation, PictureFile, claim, pictures_folder
from eve_core.data.sources.coco_pictures import coco_picture
from eve_core.data.sources.json_files import Record, read_json, stem
from eve_core.errors import UserError


@dataclass(frozen=True)
class _Answered:
    """What an annotation adds to a question."""

    question_type: str | None = None
    answer_type: str | None = None
    answers: tuple[str, ...] = ()
    answer: str | None = None


def read(source: VqaV2Source) -> Iterator[Annotation]:
    """Every question of the files, in their order; questions of a split without annotations have no answers.

    Raises:
        UserError: a file is missing, broken or of another form, a question occurs twice, or a question has no
            annotation although its split has annotations.
    """
    folder = pictures_folder(source.images, source.set)
    answered: dict[str, dict[int, _Answered]] = {}
    for path in source.annotations:
        content = read_json(path, "the annotations file")
        _read_annotations(content, answered.setdefault(_split(content, path), {}))
    taken: set[int] = set()
    for path in source.questions:
        content = read_json(path, "the questions file")
        split = _split(content, path)
        subset = "test2015" if split == "test" else f"{split}2014"
        for question in content.records("questions"):
            question_id = question.number("question_id")
            claim(question_id, taken, question.where, "the question id")
            answer = answered[split].get(question_id) if split in answered else _Answered()
            if answer is None:
                question.fail(f"question {question_id} has no annotation, although other questions of {split} have")
            picture = _picture(folder, question.number("image_id"), subset)
            row = {
                "question_id": question_id,
                "image_id": picture.image_id,
                "question": question.text("question"),
                "question_type": answer.question_type,
                "answer_type": answer.answer_type,
                "answers": list(answer.answers),
                "answer": answer.answer,
                "split": split,
            }
            yield Annotation(row, (picture,))


def _read_annotations(content: Record, answered: dict[int, _Answered]) -> None:
    for annotation in content.records("annotations"):
        question_id = annotation.number("question_id")
        if question_id in answered:
            annotation.fail(f"question {question_id} is annotated twice")
        answered[question_id] = _Answered(
            annotation.optional_text("question_type"),
            annotation.optional_text("answer_type"),
            tuple(answer.text("answer") for answer in annotation.records("answers")),
            annotation.optional_text("multiple_choice_answer"),
        )


def _split(content: Record, path: Path) -> str:
    """train, val or test: what data_subtype (train2014, test-dev2015) says, else the file's name."""
    named = content.optional_text("data_subtype") or stem(path)
    for split in ("train", "val", "test"):
        if split in named:
            return split
    raise UserError(f"{path} says its split neither in data_subtype nor in its name; name it as VQA v2 does")


def _picture(folder: Path, number: int, subset: str) -> PictureFile:
    # Re-split files keep COCO's numbers but not its subsets, so the other subsets' names are tried too.
    names = [f"COCO_{name}_{number:012d}.jpg" for name in dict.fromkeys((subset, "train2014", "val2014"))]
    return coco_picture(folder, number, *names, subset=subset)
