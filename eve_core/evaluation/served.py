"""A model as it is served: in a process of its own, one request after the other.

`python -m eve_core.evaluation.served MODEL REQUESTS OUT` is that process. MODEL is a checkpoint, or an address in
MLflow ("models:/eve-vqa/3").
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eve_core.errors import UserError, existing_file
from eve_core.processes import end_without_collection

REQUESTS_FILE = "requests.parquet"
_WARM_UP = 2
_ANSWERS = ("answer", "score")
_LAST_LINES = 5


@dataclass(frozen=True)
class Served:
    """What a served model took."""

    answers: tuple[Mapping[str, Any], ...]
    """One a request."""
    latency_ms: float
    """Milliseconds that 95 of 100 requests were answered in."""
    memory_mb: float
    """The most memory that its process held."""


def write_requests(requests: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Keep requests; pictures are bytes in them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([dict(request) for request in requests]), path)


def with_answers(path: Path, answers: Sequence[Mapping[str, Any]]) -> None:
    """Write the answers into a file of requests, beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name in answers[0]:
        table = table.append_column(f"expected_{name}", pa.array([answer[name] for answer in answers]))
    pq.write_table(table, path)


def read_requests(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Requests, and the answers that are expected, if they were kept.

    Raises:
        UserError: the file is missing.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(existing_file(path, "the requests")).to_pylist()
    expected = [{name: row.pop(f"expected_{name}") for name in _ANSWERS if f"expected_{name}" in row} for row in rows]
    return rows, expected


def serve(
    model: str, requests: Path, out: Path, *, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> Served:
    """Load a model in a new process and have it answer.

    Args:
        model: a checkpoint's folder or an address in MLflow.
        requests: see `write_requests`.
        out: file for its answers.
        python: the interpreter that runs it.
        environment: of the process; this one's when None.

    Raises:
        UserError: it does not load, or does not answer.
    """
    out.unlink(missing_ok=True)
    # -P: where an environment says whose code it is, no other that lies in the working folder.
    alone = [] if environment is None else ["-P"]
    command = [python, *alone, "-m", "eve_core.evaluation.served", model, str(requests), str(out)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode or not out.is_file():
        said = "; ".join(line.strip() for line in ended.stderr.splitlines()[-_LAST_LINES:] if line.strip())
        raise UserError(f"the model {model} does not serve: {said or f'status {ended.returncode}'}")
    content = json.loads(out.read_text())
    return Served(tuple(content["answers"]), content["latency_ms"], content["memory_mb"])


def differences(
    answers: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], tolerance: float
) -> list[str]:
    """How answers differ from those expected, in sentences.

    Args:
        answers: given now.
        expected: given before.
        tolerance: by which a score may differ.
    """
    said = []
    for number, (given, wanted) in enumerate(zip(answers, expected, strict=True), start=1):
        close = abs(given["score"] - wanted["score"]) <= tolerance  # not so for NaN
        if given.get("answer") != wanted.get("answer") or not close:
            said.append(f"request {number} is answered {_said(given)}, and was answered {_said(wanted)}")
    return said


def _said(answer: Mapping[str, Any]) -> str:
    text = f"{answer['answer']} " if "answer" in answer else ""
    return f"{text}({answer['score']:.4f})"


def _main(model: str, requests: Path, out: Path) -> None:
    rows, _ = read_requests(requests)
    if model.startswith(("models:/", "runs:/")):
        import mlflow.pyfunc
        import pandas as pd

        loaded = mlflow.pyfunc.load_model(model)

        def answer(row: dict[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = loaded.predict(pd.DataFrame([row])).to_dict("records")[0]
            return found
    else:
        from eve_core.tasks import load_predictor

        predictor = load_predictor(model)

        def answer(row: dict[str, Any]) -> dict[str, Any]:
            return predictor.predict([row])[0]

    for row in rows[:_WARM_UP]:
        answer(row)
    answers, seconds = [], []
    for row in rows:
        begun = time.perf_counter()
        answers.append(answer(row))
        seconds.append(time.perf_counter() - begun)
    content = {
        "answers": answers,
        "latency_ms": 1000 * float(np.quantile(seconds, 0.95)),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    out.write_text(json.dumps(content, default=lambda value: value.item()))


if __name__ == "__main__":
    end_without_collection()
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
