"""How far a vocabulary of answers goes: the questions it can answer, and how it differs from another one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eve_core.config import RunConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.selection import evaluation_rows, training_rows
from eve_core.errors import UserError
from eve_core.tasks.answers import answer_numbers, number_of
from eve_core.tasks.vqa_accuracy import vqa_accuracy

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

_NAMED = 8


@dataclass(frozen=True)
class Coverage:
    """What a vocabulary can do for questions with answers."""

    questions: int
    """How many there are."""
    known: int
    """How many have an answer in the vocabulary among those of their annotators; the others teach nothing."""
    most_common_known: int
    """How many have their most common answer in it."""
    best_accuracy: float
    """VQA accuracy of giving every question its best answer in the vocabulary, which no model can exceed."""


def questions_of_run(run: RunConfig) -> dict[str, "pa.Table"]:
    """The questions that a run trains and scores visual question answering on, from its prepared data.

    Raises:
        UserError: the run has no such task, or its data is not prepared.
    """
    if "vqa" not in run.tasks:
        raise UserError(f"the run {run.name} has no task vqa; add it to tasks, or give --annotations")
    data, task = PreparedData.open(run.workspace / "prepared"), run.tasks["vqa"].data
    return {"trained on": training_rows(data, task), "scored": evaluation_rows(data, task)}


def coverage(rows: "pa.Table", vocabulary: Sequence[str]) -> Coverage:
    """Measure a vocabulary on questions.

    Args:
        rows: table with `answer` and `answers`; questions without answers are left out.
        vocabulary: answers.
    """
    numbers = answer_numbers(vocabulary)
    questions = known = most_common_known = 0
    total = 0.0
    for answer, answers in zip(rows["answer"].to_pylist(), rows["answers"].to_pylist(), strict=True):
        if not answers:
            continue
        candidates = {vocabulary[number] for given in answers if (number := number_of(given, numbers)) is not None}
        questions += 1
        known += bool(candidates)
        most_common_known += answer is not None and number_of(answer, numbers) is not None
        total += max((vqa_accuracy(candidate, answers) for candidate in candidates), default=0.0)
    return Coverage(questions, known, most_common_known, total / max(1, questions))


def describe_coverage(measured: Mapping[str, Coverage]) -> "Table":
    """Coverage by the name of the questions, as a table for people."""
    from rich.table import Table

    table = Table("questions", "count", "with a known answer", "most common answer known", "best possible accuracy")
    table.columns[0].overflow = "fold"
    for name, numbers in measured.items():
        shares = [f"{count / max(1, numbers.questions):.2%}" for count in (numbers.known, numbers.most_common_known)]
        table.add_row(name, f"{numbers.questions:,}", *shares, f"{numbers.best_accuracy:.2%}")
    return table


def describe_difference(answers: Collection[str], others: Collection[str]) -> str:
    """In words: which answers two vocabularies share, and some that only one of them has."""
    shared, ours, theirs = ({*answers} & {*others}, sorted({*answers} - {*others}), sorted({*others} - {*answers}))
    return "\n".join(
        [
            f"{len(shared):,} answers are in both: {len(shared) / len(answers):.2%} of these {len(answers):,}, and "
            f"{len(shared) / len(others):.2%} of the {len(others):,} to compare with",
            f"only in these: {_some(ours)}",
            f"only in those: {_some(theirs)}",
        ]
    )


def _some(answers: Sequence[str]) -> str:
    more = f" and {len(answers) - _NAMED:,} more" if len(answers) > _NAMED else ""
    return (", ".join(repr(answer) for answer in answers[:_NAMED]) or "none") + more
