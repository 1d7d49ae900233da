"""VQA v2: official questions, and official annotations with the answers of ten people."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from eve_core.config import VqaV2Source
from eve_core.data.sources.annotation import Annotation, PictureFile, Rejected, pictures_folder
from eve_core.data.sources.bad_record import BadRecord
from eve_core.data.sources.coco_pictures import coco_picture
from eve_core.data.sources.files import split_in, stem
from eve_core.data.sources.json_files import Record, each, read_json
from eve_core.errors import UserError

_PEOPLE = 10


@dataclass(frozen=True)
class _Answered:
    """What an annotation adds to a question."""

    question_type: str | None = None
    answer_type: str | None = None
    answers: tuple[str, ...] = ()
    answer: str | None = None


_Answers = dict[int, _Answered | BadRecord]
"""By question what is annotated, or what is wrong with its annotation."""


def read(source: VqaV2Source) -> Iterator[Annotation | Rejected]:
    """Every question of the files, in their order; questions of a split without annotations have no answers.

    Raises:
        UserError: a file is missing, broken or of another form, or there are annotations of a split but no questions.
    """
    folder = pictures_folder(source.images, source.set)
    answered: dict[str, _Answers] = {}
    for path in source.annotations:
        content = read_json(path, "the annotations file")
        yield from _read_annotations(content, answered.setdefault(_split(content, path), {}))
    taken: set[int] = set()
    splits = set()
    for path in source.questions:
        content = read_json(path, "the questions file")
        split = _split(content, path)
        splits.add(split)
        yield from _read_questions(content, split, folder, answered.get(split), taken)
    for split, answers in answered.items():
        if split not in splits:
            raise UserError(
                f"vqa_v2 has annotations of {split} but no questions; name the questions file of {split} too"
            )
        for question_id in sorted(answers.keys() - taken):
            yield Rejected(str(question_id), "no_question", f"the annotation {question_id} has no question", split)


def _read_annotations(content: Record, answered: _Answers) -> Iterator[Annotation | Rejected]:
    def read_annotation(annotation: Record) -> Iterable[Annotation]:
        question_id = annotation.number("question_id")
        if question_id in answered:
            annotation.fail(f"question {question_id} is annotated twice", "duplicate_id")
        try:
            answered[question_id] = _answered(annotation)
        except BadRecord as error:
            answered[question_id] = error
        return ()

    yield from each(content.records("annotations"), "question_id", read_annotation)


def _answered(annotation: Record) -> _Answered:
    # Ten answers for each of half a million questions, but few different ones.
    answers = tuple(sys.intern(answer.text("answer")) for answer in annotation.records("answers"))
    if len(answers) != _PEOPLE:
        annotation.fail(f"{len(answers)} answers, not ten", "not_ten_answers")
    return _Answered(
        annotation.optional_text("question_type"),
        annotation.optional_text("answer_type"),
        answers,
        annotation.optional_text("multiple_choice_answer"),
    )


def _read_questions(
    content: Record, split: str, folder: Path, answered: _Answers | None, taken: set[int]
) -> Iterator[Annotation | Rejected]:
    def read_question(question: Record) -> Iterable[Annotation]:
        question_id = question.claim(question.number("question_id"), taken)
        answer = _Answered() if answered is None else answered.get(question_id)
        if answer is None:
            question.fail(f"has no annotation, although other questions of {split} have", "no_annotation")
        if isinstance(answer, BadRecord):
            raise answer
        picture = _picture(folder, question.number("image_id"), "test2015" if split == "test" else f"{split}2014")
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

    yield from each(content.records("questions"), "question_id", read_question, split)


def _split(content: Record, path: Path) -> str:
    """train, val or test: what data_subtype (train2014, test-dev2015) says, else the file's name."""
    split = split_in(content.optional_text("data_subtype") or stem(path))
    if split is None:
        raise UserError(f"{path} says its split neither in data_subtype nor in its name; name it as VQA v2 does")
    return split


@lru_cache(maxsize=1)  # the questions about a picture follow one another
def _picture(folder: Path, number: int, subset: str) -> PictureFile:
    # Re-split files keep COCO's numbers but not its subsets, so the other subsets' names are tried too.
    names = [f"COCO_{name}_{number:012d}.jpg" for name in dict.fromkeys((subset, "train2014", "val2014"))]
    return coco_picture(folder, number, *names, subset=subset)
