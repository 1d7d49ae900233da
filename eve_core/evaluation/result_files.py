"""Result files as the official evaluations and their servers take them: read, written, scored.

VQA v2: a JSON list of {"question_id": 1, "answer": "yes"}. NLVR2: a line "dev-850-0-0,True" a statement. Retrieval has
no official form; a JSON object gives the captions ranked for every picture and the pictures ranked for every caption.
"""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eve_core.data.sources.annotation import Rejected
from eve_core.data.sources.files import opened
from eve_core.data.sources.json_files import Record, read_json, read_json_lines, read_json_list
from eve_core.errors import UserError
from eve_core.tasks.nlvr2_accuracy import nlvr2_metrics
from eve_core.tasks.recall import recalls
from eve_core.tasks.vqa_accuracy import vqa_accuracy
from eve_core.whole_file import write_whole

_NAMED = 3


def score_file(task: str, predictions: Path, annotations: Path, *, split: str | None = None) -> dict[str, float]:
    """Score a result file as the official evaluation does; either file may be compressed (.gz).

    Args:
        task: vqa, nlvr2 or retrieval.
        predictions: what a model answered.
        annotations: the right answers: VQA v2's annotations, NLVR2's JSON lines, or a Karpathy file for retrieval.
        split: of a Karpathy file; its test split when not given.

    Returns:
        VQA accuracies and recalls in percent, and NLVR2's metrics as shares, as the official programs print them.

    Raises:
        UserError: a file is missing or broken, or predictions are missing, doubled or of unknown ids.
    """
    scorers = {"vqa": _score_vqa, "nlvr2": _score_nlvr2, "retrieval": _score_retrieval}
    if task not in scorers:
        raise UserError(f"there is no task {task}; choose one of {', '.join(scorers)}")
    return scorers[task](predictions, annotations, split)


def write_vqa_results(answers: Mapping[int, str], questions: Iterable[int], path: Path) -> None:
    """Write what VQA's evaluation server takes, once every question has exactly one answer.

    Args:
        answers: by question_id.
        questions: the ids that the server expects.
        path: a .json file.

    Raises:
        UserError: answers are missing, empty or too many, or the file cannot be written.
    """
    empty = [str(number) for number, answer in answers.items() if not answer.strip()]
    if empty:
        raise UserError(f"{len(empty)} answers are empty (question {empty[0]} is the first); the server refuses them")
    _refuse_incomplete([str(number) for number in answers], [str(number) for number in questions], path)
    results = [{"question_id": number, "answer": answer} for number, answer in answers.items()]
    write_whole(json.dumps(results), path, "the results")


def write_nlvr2_results(answers: Mapping[str, bool], statements: Iterable[str], path: Path) -> None:
    """Write what NLVR2's evaluation takes, once every statement has exactly one judgement.

    Args:
        answers: by identifier.
        statements: the identifiers that are expected.
        path: a .csv file.

    Raises:
        UserError: judgements are missing or too many, or the file cannot be written.
    """
    _refuse_incomplete(list(answers), list(statements), path)
    results = "".join(f"{identifier},{answer}\n" for identifier, answer in answers.items())
    write_whole(results, path, "the results")


def _score_vqa(predictions: Path, annotations: Path, split: str | None) -> dict[str, float]:
    given: list[tuple[str, str]] = []
    for record in read_json_list(predictions, "the result file"):
        given.append((str(record.number("question_id")), record.text("answer")))
    truth = read_json(annotations, "the annotations file").records("annotations")
    human: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    claimed: set[int] = set()
    for question in truth:
        number = str(question.claim(question.number("question_id"), claimed))
        human[number] = [answer.text("answer") for answer in question.records("answers")]
        if not human[number]:
            question.fail("has no answers")
        kinds[number] = [
            f"{kind}/{question.optional_text(kind) or 'unknown'}" for kind in ("answer_type", "question_type")
        ]
    answers = _paired(given, human, predictions)
    groups: dict[str, list[float]] = defaultdict(list)
    for number, given_by_people in human.items():
        value = 100 * vqa_accuracy(answers[number], given_by_people)
        for group in ("overall", *kinds[number]):
            groups[group].append(value)
    return {name: float(np.mean(groups[name])) for name in ["overall", *sorted({*groups} - {"overall"})]}


def _score_nlvr2(predictions: Path, annotations: Path, split: str | None) -> dict[str, float]:
    labels = {}
    claimed: set[str] = set()
    for record in read_json_lines(annotations, "the NLVR2 file"):
        if isinstance(record, Rejected):
            raise UserError(f"{annotations}: {record.detail}; copy the file again")
        labels[record.claim(record.text("identifier"), claimed)] = _truth(record.text("label"), record.fail)
    answers = _paired(_read_judgements(predictions), labels, predictions)
    right = [float(answers[identifier] == label) for identifier, label in labels.items()]
    return nlvr2_metrics(list(labels), right)


def _score_retrieval(predictions: Path, annotations: Path, split: str | None) -> dict[str, float]:
    owner: dict[str, str] = {}
    gallery: list[str] = []
    pictures: set[int] = set()
    sentences: set[int] = set()
    for picture in read_json(annotations, "the Karpathy file").records("images"):
        if picture.text("split") == (split or "test"):
            image_id = str(picture.claim(picture.number("imgid"), pictures))
            gallery.append(image_id)
            for sentence in picture.records("sentences"):
                owner[str(sentence.claim(sentence.number("sentid"), sentences))] = image_id
    if not owner:
        raise UserError(f"{annotations} has no captions of split {split or 'test'}; name one that it has")
    content = read_json(predictions, "the result file", unique=True)
    texts = _paired(_rankings(content, "text", {*owner}), dict.fromkeys(gallery), predictions)
    images = _paired(_rankings(content, "image", {*gallery}), owner, predictions)
    text_rank = [_rank([owner.get(caption) for caption in texts[image]], image) for image in gallery]
    image_rank = [_rank(images[caption], image) for caption, image in owner.items()]
    found = recalls(np.array(text_rank), np.array(image_rank))
    return {name: 100 * value for name, value in found.items()}


def _rankings(content: Record, direction: str, known: set[str]) -> list[tuple[str, list[str]]]:
    rankings = content.get(direction)
    if not isinstance(rankings, dict) or not all(isinstance(ranking, list) for ranking in rankings.values()):
        content.fail(f'must have "{direction}", an object with a list of ranked ids for every query')
    found = [(query, [str(answer) for answer in ranking]) for query, ranking in rankings.items()]
    for query, ranking in found:
        strange = next((answer for answer in ranking if answer not in known), None)
        if strange is not None or len({*ranking}) < len(ranking):
            said = f"lists {strange}, which is none of the test set" if strange is not None else "lists an id twice"
            content.fail(f'"{direction}": the ranking for {query} {said}')
    return found


def _rank(ranking: Sequence[str | None], right: str) -> float:
    """Of the first right answer, from 0; infinite where none is listed."""
    return float(ranking.index(right)) if right in ranking else float("inf")


def _read_judgements(path: Path) -> list[tuple[str, bool]]:
    """From "identifier,True" lines, from a JSON object, or from JSON lines with identifier and prediction."""
    with opened(path, "the result file") as file:
        first = file.peek(1).lstrip()[:1]
        if first != b"{":
            return _read_judgement_lines(io.TextIOWrapper(file, "utf-8-sig"), path)
    records = list(read_json_lines(path, "the result file"))
    whole = len(records) == 1 and isinstance(records[0], Record) and "identifier" not in records[0]
    if whole or (records and isinstance(records[0], Rejected)):  # it may be one object over several lines
        content = read_json(path, "the result file", unique=True)
        return [(name, _truth(content.get(name), content.fail)) for name in content.keys()]  # noqa: SIM118 (not a dict)
    found = []
    for record in records:
        if isinstance(record, Rejected):
            raise UserError(f"{path}: {record.detail}; write the file again")
        found.append((record.text("identifier"), _truth(record.get("prediction"), record.fail)))
    return found


def _read_judgement_lines(file: Iterable[str], path: Path) -> list[tuple[str, bool]]:
    found = []
    try:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[-1].strip().lower() in ("prediction", "label")):
                continue
            if len(row) != 2:
                raise UserError(f'{path}, line {number} is not "identifier,True" or "identifier,False"')

            def fail(problem: str, line: int = number) -> Any:
                raise UserError(f"{path}, line {line}: {problem}")

            found.append((row[0].strip(), _truth(row[1].strip(), fail)))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); write the file again") from None
    except csv.Error as error:
        raise UserError(f'{path} does not have lines of "identifier,True" ({error}); write the file again') from None
    return found


def _truth(value: Any, fail: Callable[[str], Any]) -> bool:
    truth = {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())
    if truth is None:
        fail(f"must say True or False, not {value!r}")
    return bool(truth)


def _paired(given: list[tuple[str, Any]], expected: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if not expected:
        raise UserError(f"the test set of {path} is empty: its annotations file holds none; check its path")
    _refuse_incomplete([name for name, _ in given], list(expected), path)
    return dict(given)


def _refuse_incomplete(given: list[str], expected: list[str], path: Path) -> None:
    """Every expected id has to be there exactly once, and no other."""
    known, there = set(expected), set(given)
    doubled = [name for name, count in Counter(given).items() if count > 1]
    problems = {
        "missing": [name for name in expected if name not in there],
        "for ids that are not asked for": [name for name in given if name not in known],
        "more than once": doubled,
    }
    said = [
        f"{len(names):,} {what} ({', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''})"
        for what, names in problems.items()
        if names
    ]
    if said:
        raise UserError(
            f"{path}: of {len(expected):,} predictions, {'; '.join(said)}; is it the result file of this test set?"
        )
