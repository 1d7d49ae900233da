"""Scoring: the candidate and the champion on the same items in the same step."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.config import EvaluationConfig, TaskDataConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import evaluation_rows
from eve_core.tasks import get_task

if TYPE_CHECKING:
    import pyarrow as pa

    from eve_core.tasks import TaskScores

SCORES_FILE = "scores.json"
ITEMS_FILE = "items.parquet"


def score(
    data: PreparedData,
    task_name: str,
    task_data: TaskDataConfig,
    config: EvaluationConfig,
    candidate: Path,
    out: Path,
    *,
    data_revision: str,
    champion: Path | None = None,
    champion_version: str | None = None,
) -> dict[str, float]:
    """Score a fine-tuned model, and the champion beside it, and write `scores.json` and `items.parquet` to `out`.

    Args:
        data: prepared data.
        task_name: vqa, nlvr2 or retrieval.
        task_data: the task's held-out rows.
        config: how they are scored.
        candidate: folder of the fine-tuned model.
        out: folder to write.
        data_revision: git commit that pins the data.
        champion: folder of the champion's checkpoint, when there is a champion.
        champion_version: its version in the registry.

    Returns:
        The candidate's metrics.
    """
    import pyarrow.parquet as pq

    from eve_core.model_digest import model_digest

    rows = evaluation_rows(data, task_data)
    scored = _score_one(data, task_name, config, candidate, rows, f"scoring {task_name}")
    items = scored.items.rename_columns(
        ["candidate" if name == "score" else name for name in scored.items.column_names]
    )
    report: dict[str, Any] = {
        "format": 1,
        "task": task_name,
        "items": items.num_rows,
        "test_digest": _test_digest(items),
        "data_digest": data.digest,
        "data_revision": data_revision,
        "candidate": {"model_digest": model_digest(candidate), "metrics": scored.metrics},
        "champion": None,
    }
    if champion is None:
        import pyarrow as pa

        items = items.append_column("champion", pa.nulls(items.num_rows, pa.float64()))
    else:
        other = _score_one(data, task_name, config, champion, rows, f"scoring {task_name} champion {champion_version}")
        assert other.items["item_id"].equals(items["item_id"])
        items = items.append_column("champion", other.items["score"])
        report["champion"] = {
            "version": champion_version,
            "model_digest": model_digest(champion),
            "metrics": other.metrics,
        }
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(items, out / ITEMS_FILE)
    (out / SCORES_FILE).write_text(json.dumps(report, indent=2) + "\n")
    return scored.metrics


def _score_one(
    data: PreparedData, task_name: str, config: EvaluationConfig, checkpoint: Path, rows: "pa.Table", description: str
) -> "TaskScores":
    task = get_task(task_name)
    model = task.model_class.from_pretrained(checkpoint).eval()
    preprocessor = Preprocessor.load(checkpoint)
    return task.score(model, preprocessor, rows, data.images, config, description)


def _test_digest(items: "pa.Table") -> str:
    """sha256 over what is scored: item ids, texts and right answers, in order."""
    digest = hashlib.sha256()
    for row in items.select(["item_id", "image_id", "text", "target"]).to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
