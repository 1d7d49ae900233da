"""The gate: may this candidate be registered? Scores in, a blessing out.

The candidate and the champion were scored on the same items in the same step, so that their difference means something.
A number that is missing or not finite is a refusal; a scores file that is malformed is an error.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from eve_core.config import GateConfig, MetricFloor, TaskName
from eve_core.errors import UserError, existing_file
from eve_core.evaluation.blessing import Blessing, Check

FORMAT = 1
# So that a gain of exactly min_gain passes: 0.7 - 0.6 is a little less than 0.1.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ScoredModel:
    """One model's results on the test items."""

    model_digest: str
    """`eve_core.model_digest.model_digest` of it."""
    metrics: Mapping[str, float]
    """Metric by name; may be NaN or infinite."""
    version: str | None = None
    """Registered version, of a champion."""


@dataclass(frozen=True)
class Scores:
    """What the evaluation step found."""

    task: str
    """Name of the task."""
    items: int
    """Scored items."""
    test_digest: str
    """sha256 of the scored items' ids and ground truth."""
    data_digest: str
    """Digest of the data manifest."""
    data_revision: str
    """Git commit that pins the data."""
    candidate: ScoredModel
    """The model to judge."""
    champion: ScoredModel | None
    """The version it has to beat, scored on the same items; None when there is none."""


def decide(scores: Scores, gate: GateConfig, *, code_revision: str) -> Blessing:
    """Check the scores against the gate's floors, item count and comparison; blessed means that all hold.

    Args:
        scores: results of the candidate and, if there is one, the champion.
        gate: what is asked for.
        code_revision: git commit of the running code, kept in the blessing.
    """
    checks = (_enough_items(scores, gate), *(_floor(scores, floor) for floor in gate.floors), _gain(scores, gate))
    champion = scores.champion
    return Blessing(
        task=scores.task,
        blessed=all(check.passed for check in checks),
        reasons=tuple(check.sentence for check in checks if not check.passed),
        checks=checks,
        items=scores.items,
        test_digest=scores.test_digest,
        data_digest=scores.data_digest,
        data_revision=scores.data_revision,
        code_revision=code_revision,
        model_digest=scores.candidate.model_digest,
        metrics=_finite_metrics(scores.candidate),
        champion_version=champion.version if champion else None,
        champion_digest=champion.model_digest if champion else None,
        champion_metrics=_finite_metrics(champion) if champion else None,
    )


def read_scores(folder: Path | str) -> Scores:
    """Read an evaluation step's folder: `scores.json`, checked against the rows of `items.parquet`.

    Raises:
        UserError: a file is missing or malformed, or the two disagree on the number of items.
    """
    path = existing_file(Path(folder) / "scores.json", "the scores file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"the scores file {path} is not valid JSON; run the evaluation again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is no scores file of format {FORMAT}; run the evaluation again")
    if content.get("task") not in get_args(TaskName):
        raise UserError(f"{path} names no task out of {', '.join(get_args(TaskName))}; run the evaluation again")
    items = content.get("items")
    if not isinstance(items, int) or isinstance(items, bool):
        raise UserError(f"{path} has no whole number as items; run the evaluation again")
    scores = Scores(
        task=content["task"],
        items=items,
        test_digest=_text(content, "test_digest", path),
        data_digest=_text(content, "data_digest", path),
        data_revision=_text(content, "data_revision", path),
        candidate=_model(content, "candidate", path),
        champion=None if content.get("champion", ...) is None else _model(content, "champion", path),
    )
    rows = _item_rows(Path(folder) / "items.parquet")
    if rows != scores.items:
        raise UserError(f"{path} says {scores.items} items but items.parquet has {rows}; run the evaluation again")
    return scores


def _enough_items(scores: Scores, gate: GateConfig) -> Check:
    passed = scores.items >= gate.min_items
    verdict = f"at least {gate.min_items}" if passed else f"fewer than the {gate.min_items} that a verdict needs"
    return Check("items", scores.items, gate.min_items, passed, f"{scores.items} items were scored, {verdict}")


def _floor(scores: Scores, floor: MetricFloor) -> Check:
    value = scores.candidate.metrics.get(floor.metric)
    name = f"floor {floor.metric}"
    if value is None or not math.isfinite(value):
        return Check(name, None, floor.at_least, False, f"the candidate's {floor.metric} {_no_number(value)}")
    passed = value >= floor.at_least
    verdict = "at least" if passed else "below"
    return Check(name, value, floor.at_least, passed, f"{floor.metric} {value:.4g} is {verdict} {floor.at_least:.4g}")


def _gain(scores: Scores, gate: GateConfig) -> Check:
    if scores.champion is None:
        return Check("gain", None, None, True, "no champion: floors only")
    name = f"gain {gate.metric}"
    ours, theirs = scores.candidate.metrics.get(gate.metric), scores.champion.metrics.get(gate.metric)
    if ours is None or not math.isfinite(ours):
        return Check(name, None, gate.min_gain, False, f"the candidate's {gate.metric} {_no_number(ours)}")
    if theirs is None or not math.isfinite(theirs):
        return Check(name, None, gate.min_gain, False, f"the champion's {gate.metric} {_no_number(theirs)}")
    gain = ours - theirs
    passed = gain >= gate.min_gain - _ROUNDING
    verdict = "at least" if passed else "less than"
    sentence = (
        f"{gate.metric} {ours:.4g} is {gain:+.4g} against champion {scores.champion.version} ({theirs:.4g}), "
        f"{verdict} the asked {gate.min_gain:+.4g}"
    )
    return Check(name, gain, gate.min_gain, passed, sentence)


def _no_number(value: float | None) -> str:
    return "was not measured" if value is None else f"is {value}, no finite number"


def _finite_metrics(model: ScoredModel) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in sorted(model.metrics.items())}


def _text(content: dict[str, Any], key: str, path: Path) -> str:
    if not isinstance(content.get(key), str) or not content[key]:
        raise UserError(f"{path} has no text as {key}; run the evaluation again")
    return str(content[key])


def _model(content: dict[str, Any], key: str, path: Path) -> ScoredModel:
    part = content.get(key)
    if not isinstance(part, dict) or not isinstance(part.get("metrics"), dict):
        raise UserError(f"{path} has no {key} with metrics; run the evaluation again")
    wrong = [name for name, value in part["metrics"].items() if type(value) not in (int, float)]  # a bool is an int
    if wrong:
        raise UserError(f"{path}: {key} metric {', '.join(wrong)} is no number; run the evaluation again")
    return ScoredModel(
        model_digest=_text(part, "model_digest", path),
        metrics={name: float(value) for name, value in part["metrics"].items()},
        version=_text(part, "version", path) if key == "champion" else None,
    )


def _item_rows(path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    path = existing_file(path, "the per-item scores")
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid:
        raise UserError(f"the per-item scores {path} are no Parquet file; run the evaluation again") from None
    with file:
        missing = {"item_id", "image_id", "candidate", "champion"} - set(file.schema_arrow.names)
        if missing:
            raise UserError(f"{path} lacks column {', '.join(sorted(missing))}; run the evaluation again")
        return int(file.metadata.num_rows)
