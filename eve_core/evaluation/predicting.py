"""Answering a split whose answers are not public, for the evaluation servers."""

import math
from pathlib import Path

from eve_core.config import Split
from eve_core.data.prepared import PreparedData
from eve_core.data.records import KIND_OF_SET, TEXT_COLUMN
from eve_core.data.selection import split_rows
from eve_core.errors import UserError
from eve_core.evaluation.result_files import write_nlvr2_results, write_vqa_results
from eve_core.tasks import load_predictor

_SET = {"vqa": "vqa_v2", "nlvr2": "nlvr2"}


def predict_split(task: str, model: Path, prepared: Path, split: str, out: Path, *, batch_size: int) -> int:
    """Write the result file of a split.

    Args:
        task: vqa or nlvr2.
        model: folder of a fine-tuned model.
        prepared: prepared data.
        split: of the task's set.
        out: file to write.
        batch_size: examples at a time.

    Returns:
        How many answers it has.

    Raises:
        UserError: the model is one of another task, the data lacks the split, or rows of it are in quarantine, so that
            the file would not be complete.
    """
    if task not in _SET:
        raise UserError(f"there is no evaluation server for {task}; choose {' or '.join(_SET)}")
    predictor = load_predictor(model)
    if predictor.task.name != task:
        raise UserError(f"{model} is a model for {predictor.task.name}, not for {task}")
    data = PreparedData.open(prepared)
    rows = split_rows(data, Split(set=_SET[task], splits=[split]))
    apart = any((shard.table, shard.set) == ("quarantine", _SET[task]) for shard in data.manifest.shards)
    quarantine = data.table("quarantine", set=_SET[task]).to_pylist() if apart else []
    missing = [row for row in quarantine if row["split"] == split]
    if missing:
        raise UserError(
            f"{len(missing)} rows of {_SET[task]} {split} are in quarantine ({missing[0]['row_id']}: "
            f"{missing[0]['reason']}), and the server takes complete results alone; mend their files and prepare again"
        )
    key = {"statement": "statement_id", "question": "question_id"}[TEXT_COLUMN[KIND_OF_SET[_SET[task]]]]
    found = predictor.task.answer(
        predictor.model, predictor.preprocessor, rows.to_pylist(), data.images, batch_size, f"answering {split}"
    )
    wrong = sum(not math.isfinite(answer["score"]) for answer in found)
    if wrong:
        raise UserError(
            f"{wrong} answers of {model} have no finite score; look for NaN in its weights before it is sent in"
        )
    expected = rows[key].to_pylist()
    answers = {name: answer["answer"] for name, answer in zip(expected, found, strict=True)}
    if task == "vqa":
        write_vqa_results(answers, expected, out)
    else:
        write_nlvr2_results(answers, expected, out)
    return len(answers)
