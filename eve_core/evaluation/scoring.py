"""Scoring: the candidate and the champion on the same items in the same step, and the candidate as it is served."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.config import EvaluationConfig, Split, TaskDataConfig
from eve_core.data.leakage import SplitRows, Way, find_leaks
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import evaluation_rows, split_rows, training_rows
from eve_core.data.shards import file_sha256
from eve_core.evaluation.expert_load import ExpertLoad
from eve_core.evaluation.served import REQUESTS_FILE, serve, with_answers, write_requests
from eve_core.evaluation.slices import add_attributes
from eve_core.model_digest import defining_files, model_digest
from eve_core.tasks import get_task

if TYPE_CHECKING:
    import pyarrow as pa

SCORES_FILE = "scores.json"
ITEMS_FILE = "items.parquet"
FORMAT = 2
# The others are by likeness, which drawn pictures and repeated words have by design; preparing the data searches them.
_CERTAIN_WAYS: tuple[Way, ...] = ("id", "coco_id", "bytes")


@dataclass
class _Scored:
    metrics: dict[str, float]
    items: "pa.Table"
    experts: ExpertLoad


def score(
    data: PreparedData,
    task_name: str,
    task_data: TaskDataConfig,
    config: EvaluationConfig,
    candidate: Path,
    out: Path,
    *,
    data_revision: str,
    pretrained_on: Sequence[Split] = (),
    champion: Path | None = None,
    champion_version: str | None = None,
) -> dict[str, float]:
    """Score a fine-tuned model, and the champion beside it.

    Into `out` go `scores.json`, `items.parquet` with every item's scores and what slices divide by, and
    `requests.parquet` with requests that the candidate answered as it is served, and its answers.

    Args:
        data: prepared data.
        task_name: vqa, nlvr2 or retrieval.
        task_data: the task's held-out rows.
        config: how they are scored.
        candidate: folder of the fine-tuned model.
        out: folder to write.
        data_revision: git commit that pins the data.
        pretrained_on: what the candidate was pre-trained on, to look for leaks in.
        champion: folder of the champion's checkpoint, when there is a champion.
        champion_version: its version in the registry.

    Returns:
        The candidate's metrics.

    Raises:
        UserError: the data lacks what the config names, or the candidate does not serve.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = evaluation_rows(data, task_data)
    ours = _score_one(data, task_name, config, candidate, rows, f"scoring {task_name}")
    theirs = None
    if champion is not None:
        what = f"scoring {task_name} champion {champion_version}"
        theirs = _score_one(data, task_name, config, champion, rows, what)
    items = add_attributes(ours.items, config.slices, data)
    items = items.rename_columns(["candidate" if name == "score" else name for name in items.column_names])
    against = theirs.items["score"] if theirs else pa.nulls(items.num_rows, pa.float64())
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(items.append_column("champion", against), out / ITEMS_FILE)
    report: dict[str, Any] = {
        "format": FORMAT,
        "task": task_name,
        "items": items.num_rows,
        "trained_on": [split.name for split in (*pretrained_on, task_data.train)],
        "scored_on": [task_data.evaluate.name],
        "main_metric": get_task(task_name).main_metric,
        "data_digest": data.digest,
        "data_revision": data_revision,
        "leaking_rows": _leaking_rows(data, task_data, pretrained_on, rows),
        "candidate": {
            "model_digest": model_digest(candidate),
            "test_digest": digest_of_items(ours.items),
            "metrics": ours.metrics,
            "expert_load": ours.experts.by_block(),
            "served": _serve(task_name, rows, data, config, candidate, out),
            "requests_digest": file_sha256(out / REQUESTS_FILE),
        },
        "champion": theirs
        and {
            "version": champion_version,
            "model_digest": model_digest(champion or ""),
            "test_digest": digest_of_items(theirs.items),
            "metrics": theirs.metrics,
        },
    }
    (out / SCORES_FILE).write_text(json.dumps(report, indent=2) + "\n")
    return ours.metrics


def digest_of_items(items: "pa.Table") -> str:
    """sha256 over what is scored: ids of items and pictures, texts and right answers, in order."""
    digest = hashlib.sha256()
    for row in items.select(["item_id", "image_id", "text", "target"]).to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _score_one(
    data: PreparedData, task_name: str, config: EvaluationConfig, checkpoint: Path, rows: "pa.Table", description: str
) -> _Scored:
    task = get_task(task_name)
    model = task.model_class.from_pretrained(checkpoint).eval()
    preprocessor = Preprocessor.load(checkpoint)
    with ExpertLoad.of(model) as experts:
        scored = task.score(model, preprocessor, rows, data.images, config, description)
    metrics = {**scored.metrics, "dead_experts": experts.dead()}
    return _Scored(metrics, scored.items, experts)


def _leaking_rows(
    data: PreparedData, task_data: TaskDataConfig, pretrained_on: Sequence[Split], rows: "pa.Table"
) -> int:
    """How many rows that the candidate saw show a picture that it is scored on."""
    seen = [split_rows(data, split) for split in pretrained_on] + [training_rows(data, task_data)]
    trained = [SplitRows("trained on", str(number), table) for number, table in enumerate(seen)]
    scored = SplitRows("scored", "here", rows)
    return find_leaks(data.image_info(), [*trained, scored], [("scored", "here")], _CERTAIN_WAYS).rows.num_rows


def _serve(
    task_name: str, rows: "pa.Table", data: PreparedData, config: EvaluationConfig, candidate: Path, out: Path
) -> dict[str, float]:
    """Ask the candidate as a server would; its answers are kept."""
    task, number = get_task(task_name), min(config.requests, rows.num_rows)
    chosen = np.linspace(0, rows.num_rows - 1, number).astype(int)
    write_requests([task.request(row, data.images) for row in rows.take(chosen).to_pylist()], out / REQUESTS_FILE)
    served = serve(str(candidate), out / REQUESTS_FILE, out / ".answers.json")
    (out / ".answers.json").unlink()
    with_answers(out / REQUESTS_FILE, served.answers)
    size = sum(path.stat().st_size for path in defining_files(candidate)) / 1e6
    return {"latency_ms": served.latency_ms, "memory_mb": served.memory_mb, "size_mb": size}
