"""The answers that question answering chooses from: made from annotations, or read from a file."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.data.sources.json_files import read_json
from eve_core.errors import UserError, existing_file
from eve_core.tasks.vqa_accuracy import normalize_answer
from eve_core.whole_file import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

_NAMED = 3


def answer_vocabulary(rows: "pa.Table", min_count: int) -> list[str]:
    """The normalised answers that are the most common one of at least `min_count` questions.

    The rule of the field's 3,129 answers, which are those with 9 questions in VQA v2's train and val together. The
    empty text is among them, since an answer "a" has no other normal form; it is left out here, so that the same
    questions give 3,128, as many as the official head has rows.

    Args:
        rows: table with `answer`, the annotations' multiple_choice_answer; null where it is unknown.
        min_count: questions that an answer needs.

    Returns:
        The answers in the order of their code points, so that the same questions in another order give the same list.

    Raises:
        UserError: no answer is that frequent.
    """
    counts = Counter(normalize_answer(answer) for answer in rows["answer"].to_pylist() if answer is not None)
    answers = sorted(answer for answer, count in counts.items() if count >= min_count and answer)
    if not answers:
        raise UserError(
            f"no answer is given {min_count} times among {rows.num_rows} training questions; "
            "lower finetuning.min_answer_count"
        )
    return answers


def read_answers(path: Path | str) -> list[str]:
    """A vocabulary from a file, in the order of the head's rows; texts are taken as they are.

    Args:
        path: a JSON list (label2ans.json), a JSON object from answer to number (ans2label.json), or a .txt with an
            answer a line.

    Raises:
        UserError: the file is missing or of another form, holds no answer, an empty line, or an answer twice, or its
            numbers are not 0, 1, 2 ...
    """
    path = existing_file(path, "the answer vocabulary")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        content = lines if path.suffix == ".txt" else json.loads(text)
    except ValueError as error:
        raise UserError(f"the answer vocabulary {path} is not valid JSON or UTF-8 ({error}); copy it again") from None
    if isinstance(content, dict):
        content = _in_order(content, path)
    if not isinstance(content, list) or not all(isinstance(answer, str) for answer in content):
        raise UserError(f"the answer vocabulary {path} holds something else than texts; give a list of answers")
    if not content or (path.suffix == ".txt" and not all(content)):
        raise UserError(f"the answer vocabulary {path} is empty, or has an empty line; give one answer a line")
    twice = [answer for answer, count in Counter(content).items() if count > 1]
    if twice:
        named = ", ".join(repr(answer) for answer in twice[:_NAMED])
        raise UserError(
            f"the answer vocabulary {path} has {len(twice)} answers more than once ({named}); keep one each"
        )
    return content


def answer_numbers(vocabulary: Sequence[str]) -> dict[str, int]:
    """The number of every answer by its text and, where no other answer is written like that, by its normal form."""
    by_normal_form = {normalize_answer(vocabulary[number]): number for number in reversed(range(len(vocabulary)))}
    by_normal_form.pop("", None)
    return by_normal_form | {answer: number for number, answer in enumerate(vocabulary)}


def number_of(answer: str, numbers: Mapping[str, int]) -> int | None:
    """The number of what an annotator wrote, as it stands or else in its normal form; None when it is not known.

    Args:
        answer: any text.
        numbers: of `answer_numbers`.
    """
    return numbers.get(answer, numbers.get(normalize_answer(answer)))


def write_answers(answers: Sequence[str], path: Path) -> None:
    """Write a vocabulary as the JSON list that `read_answers` reads, whole or not at all.

    Raises:
        UserError: the file's name does not end in .json, or it cannot be written.
    """
    if path.suffix != ".json":
        raise UserError(f"the answers are written as JSON, and {path} does not end in .json; choose such a name")
    write_whole(json.dumps(list(answers), indent=0, ensure_ascii=False) + "\n", path, "the answers")


def read_annotations(path: Path) -> "pa.Table":
    """`answer` and `answers` of every question of an official VQA v2 annotations file (.json or .json.gz).

    Raises:
        UserError: the file is missing, broken or of another form.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {"answer": [], "answers": []}
    for annotation in read_json(path, "the annotations file").records("annotations"):
        columns["answer"].append(annotation.text("multiple_choice_answer"))
        columns["answers"].append([answer.text("answer") for answer in annotation.records("answers")])
    return pa.table(columns, schema=pa.schema({"answer": pa.string(), "answers": pa.list_(pa.string())}))


def _in_order(numbers: dict[str, Any], path: Path) -> list[str]:
    if sorted(numbers.values(), key=str) != sorted(range(len(numbers)), key=str):
        raise UserError(f"the numbers of the answer vocabulary {path} are not 0, 1, 2 ..., each once; copy it again")
    return sorted(numbers, key=lambda answer: numbers[answer])
