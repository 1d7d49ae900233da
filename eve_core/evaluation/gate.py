"""The gate: may this candidate be registered? Scores in, a blessing out.

The candidate and the champion were scored on the same items in the same step, so that their difference means something.
A number that is missing or not finite is a refusal; a scores file that is malformed is an error.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from eve_core.config import GateConfig, MetricFloor, SliceConfig, TaskName
from eve_core.errors import UserError, existing_file
from eve_core.evaluation.blessing import Blessing, Check, Part
from eve_core.evaluation.significance import Comparison, Group, analyse, holm
from eve_core.evaluation.slices import divide

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
ALL = "all"
_LEVEL = 0.95
_SEED = 0
_DRAWS_BEYOND = 2
# A metric is the mean of its items' scores, but for the order in which they were added up.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class ScoredModel:
    """One model's results on the test items."""

    model_digest: str
    """`eve_core.model_digest.model_digest` of it."""
    test_digest: str
    """sha256 of the scored items' ids and ground truth."""
    metrics: Mapping[str, float]
    """Metric by name; may be NaN or infinite."""
    served: Mapping[str, float] = field(default_factory=dict)
    """latency_ms, memory_mb and size_mb as it is served, of a candidate."""
    requests_digest: str = ""
    """sha256 of the file of requests that a candidate answered."""
    version: str | None = None
    """Registered version, of a champion."""


@dataclass(frozen=True)
class Scores:
    """What the evaluation step found."""

    task: str
    """Name of the task."""
    trained_on: tuple[str, ...]
    """Sets and splits that the candidate saw."""
    scored_on: tuple[str, ...]
    """Sets and splits of the test."""
    main_metric: str
    """What two models are compared by: the mean of the items' scores."""
    data_digest: str
    """Digest of the data manifest."""
    data_revision: str
    """Git commit that pins the data."""
    leaking_rows: int
    """Rows that the candidate was trained on and that show a picture of the test."""
    candidate: ScoredModel
    """The model to judge."""
    champion: ScoredModel | None
    """The version it has to beat, scored on the same items; None when there is none."""
    items: "pa.Table"
    """item_id, image_id, the scores `candidate` and `champion`, weight where items count differently, and slices."""


def decide(scores: Scores, gate: GateConfig, slices: Sequence[SliceConfig] = (), *, code_revision: str) -> Blessing:
    """Check the scores against all that the gate asks for; blessed means that everything holds.

    Args:
        scores: results of the candidate and, if there is one, the champion.
        gate: what is asked for.
        slices: how the items are divided.
        code_revision: git commit of the running code, kept in the blessing.
    """
    parts, slice_problems = divide(scores.items, slices)
    checks = [_enough_items(scores, gate), _same_items(scores), _numbers(scores)]
    groups: dict[str, Group] = {}
    if scores.items.num_rows and all(check.passed for check in checks[1:]):
        everything = np.ones(scores.items.num_rows, dtype=bool)
        groups = _analyse(scores, gate, {ALL: everything, **parts})
    checks += [_floor(scores, floor) for floor in gate.floors]
    checks += _gain(scores, gate, groups.get(ALL))
    checks += [Check("slices", None, None, False, problem) for problem in slice_problems]
    checks += _slice_floors(scores, slices, groups)
    checks += _slice_drops(scores, gate, groups)
    checks += [_leaks(scores), *_budgets(scores, gate)]
    champion = scores.champion
    return Blessing(
        task=scores.task,
        trained_on=scores.trained_on,
        scored_on=scores.scored_on,
        blessed=all(check.passed for check in checks),
        reasons=tuple(check.sentence for check in checks if not check.passed),
        checks=tuple(checks),
        items=scores.items.num_rows,
        test_digest=scores.candidate.test_digest,
        data_digest=scores.data_digest,
        data_revision=scores.data_revision,
        code_revision=code_revision,
        model_digest=scores.candidate.model_digest,
        main_metric=scores.main_metric,
        metrics=_finite(scores.candidate.metrics),
        parts=tuple(_part(name, group) for name, group in groups.items()),
        served=_finite(scores.candidate.served),
        requests_digest=scores.candidate.requests_digest,
        champion_version=champion.version if champion else None,
        champion_digest=champion.model_digest if champion else None,
        champion_metrics=_finite(champion.metrics) if champion else None,
    )


def read_scores(folder: Path | str) -> Scores:
    """Read an evaluation step's folder: `scores.json`, checked against `items.parquet`.

    Raises:
        UserError: a file is missing or malformed, or the two contradict each other.
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
    for key in ("items", "leaking_rows"):
        if type(content.get(key)) is not int:
            raise UserError(f"{path} has no whole number as {key}; run the evaluation again")
    for key in ("trained_on", "scored_on"):
        if not isinstance(content.get(key), list) or not all(isinstance(name, str) for name in content[key]):
            raise UserError(f"{path} has no list of texts as {key}; run the evaluation again")
    champion = None if content.get("champion", ...) is None else _model(content, "champion", path)
    items = _items(Path(folder) / "items.parquet", champion is not None)
    if items.num_rows != content["items"]:
        raise UserError(
            f"{path} says {content['items']} items but items.parquet has {items.num_rows}; run the evaluation again"
        )
    scores = Scores(
        task=content["task"],
        trained_on=tuple(content["trained_on"]),
        scored_on=tuple(content["scored_on"]),
        main_metric=_text(content, "main_metric", path),
        data_digest=_text(content, "data_digest", path),
        data_revision=_text(content, "data_revision", path),
        leaking_rows=content["leaking_rows"],
        candidate=_model(content, "candidate", path),
        champion=champion,
        items=items,
    )
    _refuse_contradiction(scores, path)
    return scores


def _enough_items(scores: Scores, gate: GateConfig) -> Check:
    number = scores.items.num_rows
    passed = number >= gate.min_items
    verdict = f"at least {gate.min_items}" if passed else f"fewer than the {gate.min_items} that a verdict needs"
    return Check("items", number, gate.min_items, passed, f"{number} items were scored, {verdict}")


def _same_items(scores: Scores) -> Check:
    champion = scores.champion
    if champion is None:
        return Check("test set", None, None, True, "no champion: its test set is the candidate's own")
    passed = champion.test_digest == scores.candidate.test_digest
    verdict = "on the same items" if passed else "on other items than the candidate"
    return Check("test set", None, None, passed, f"champion {champion.version} was scored {verdict}")


def _numbers(scores: Scores) -> Check:
    for name in ("candidate", "champion") if scores.champion else ("candidate",):
        wrong = int((~np.isfinite(_scores_of(scores.items, name))).sum())
        if wrong:
            said = f"{wrong} items have no finite number as the {name}'s score"
            return Check("numbers", float(wrong), 0.0, False, said)
    return Check("numbers", 0.0, 0.0, True, "every item has a finite score")


def _analyse(scores: Scores, gate: GateConfig, groups: Mapping[str, np.ndarray]) -> dict[str, Group]:
    table = scores.items
    return analyse(
        _scores_of(table, "candidate"),
        _scores_of(table, "champion") if scores.champion else None,
        table["image_id"].to_numpy(zero_copy_only=False).astype(str),
        groups,
        weights=_scores_of(table, "weight") if "weight" in table.column_names else None,
        level=_LEVEL,
        # So many that the rarest of draws is rare enough for Holm's first and smallest share of alpha.
        rounds=max(gate.rounds, math.ceil(_DRAWS_BEYOND * len(groups) / gate.alpha)),
        seed=_SEED,
    )


def _floor(scores: Scores, floor: MetricFloor) -> Check:
    value = scores.candidate.metrics.get(floor.metric)
    name = f"floor {floor.metric}"
    if value is None or not math.isfinite(value):
        return Check(name, None, floor.at_least, False, f"the candidate's {floor.metric} {_no_number(value)}")
    passed = value >= floor.at_least
    verdict = "at least" if passed else "below"
    return Check(name, value, floor.at_least, passed, f"{floor.metric} {value:.4g} is {verdict} {floor.at_least:.4g}")


def _gain(scores: Scores, gate: GateConfig, everything: Group | None) -> Iterator[Check]:
    if scores.champion is None:
        yield Check("gain", None, None, True, "no champion: floors only")
        return
    if everything is None or everything.comparison is None or everything.champion is None:
        yield Check("gain", None, gate.min_gain, False, "the two models could not be compared")
        return
    found, margin = everything.comparison, gate.min_gain
    p_value = found.p_value(margin)
    passed = p_value <= gate.alpha
    asked = f"more than {margin:+.4g}" if margin >= 0 else f"at most {-margin:.4g} worse"
    sentence = (
        f"{scores.main_metric} {everything.candidate.value:.4g} is {_gained(found)} against champion "
        f"{scores.champion.version} ({everything.champion.value:.4g}): {'' if passed else 'not '}{asked} beyond chance "
        f"(p = {p_value:.3g} by {found.test(margin)}, {gate.alpha:.3g} allowed)"
    )
    yield Check(f"gain {scores.main_metric}", found.gain, margin, passed, sentence)
    if gate.detectable_gain is not None:
        detectable = found.detectable(gate.alpha, gate.power)
        enough = detectable <= gate.detectable_gain
        sentence = (
            f"so many items find a true gain of {detectable:.3g} with probability {gate.power:.2g}; "
            f"{gate.detectable_gain:.3g} was asked for{'' if enough else ', which takes more items'}"
        )
        yield Check("power", detectable, gate.detectable_gain, enough, sentence)


def _slice_floors(scores: Scores, slices: Sequence[SliceConfig], groups: Mapping[str, Group]) -> Iterator[Check]:
    for config in slices:
        for name, group in groups.items():
            if config.at_least is None or not name.startswith(f"{config.by} "):
                continue
            value = group.candidate.value
            passed = value >= config.at_least
            verdict = "at least" if passed else "below"
            sentence = f"{name}: {scores.main_metric} {value:.4g} is {verdict} {config.at_least:.4g}"
            yield Check(f"slice floor {name}", value, config.at_least, passed, sentence)


def _slice_drops(scores: Scores, gate: GateConfig, groups: Mapping[str, Group]) -> Iterator[Check]:
    """Falls of slices, with their error rate shared by all of them (Holm)."""
    compared = {name: group.comparison for name, group in groups.items() if name != ALL and group.comparison}
    p_values = [found.p_value_of_fall(gate.max_slice_drop) for found in compared.values()]
    fallen = holm(p_values, gate.alpha)
    for (name, found), p_value, fell in zip(compared.items(), p_values, fallen, strict=True):
        verdict = "worse by more than" if fell else "not worse by more than"
        sentence = (
            f"{name}: {scores.main_metric} is {_gained(found)}, {verdict} {gate.max_slice_drop:.4g} beyond chance "
            f"(p = {p_value:.3g})"
        )
        yield Check(f"slice {name}", found.gain, -gate.max_slice_drop, not fell, sentence)


def _leaks(scores: Scores) -> Check:
    rows = scores.leaking_rows
    said = f"{rows} rows that it was trained on show" if rows else "no row that it was trained on shows"
    return Check("leakage", rows, 0, rows == 0, f"{said} a picture of the test")


def _budgets(scores: Scores, gate: GateConfig) -> Iterator[Check]:
    asked = {
        "latency_ms": (gate.max_latency, "95 of 100 requests take up to {:.4g} ms"),
        "memory_mb": (gate.max_memory, "serving it takes {:.4g} MB of memory"),
        "size_mb": (gate.max_size, "its files have {:.4g} MB"),
        "dead_experts": (gate.max_dead_experts, "a share of {:.3g} of a block's experts was chosen by no token"),
    }
    measured = {**scores.candidate.served, "dead_experts": scores.candidate.metrics.get("dead_experts", math.nan)}
    for name, (most, words) in asked.items():
        if most is None:
            continue
        value = measured.get(name, math.nan)
        if not math.isfinite(value):
            yield Check(f"budget {name}", None, most, False, f"{name} was not measured")
            continue
        passed = value <= most
        verdict = f"at most {most:.4g}" if passed else f"more than {most:.4g}"
        yield Check(f"budget {name}", value, most, passed, f"{words.format(value)}, {verdict}")


def _gained(found: Comparison) -> str:
    return f"{found.gain:+.4g} [{found.low:+.3g}, {found.high:+.3g}]"


def _no_number(value: float | None) -> str:
    return "was not measured" if value is None else f"is {value}, no finite number"


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in sorted(numbers.items())}


def _part(name: str, group: Group) -> Part:
    champion, found = group.champion, group.comparison
    return Part(
        name=name,
        items=group.items,
        candidate=(group.candidate.value, group.candidate.low, group.candidate.high),
        champion=(champion.value, champion.low, champion.high) if champion else None,
        gain=(found.gain, found.low, found.high) if found else None,
    )


def _scores_of(items: "pa.Table", column: str) -> np.ndarray:
    values: np.ndarray = items[column].to_numpy(zero_copy_only=False).astype(float)
    return values


def _refuse_contradiction(scores: Scores, path: Path) -> None:
    """A metric that somebody changed, or items of another evaluation."""
    weights = _scores_of(scores.items, "weight") if "weight" in scores.items.column_names else None
    for name, model in (("candidate", scores.candidate), ("champion", scores.champion)):
        if model is None or scores.items.num_rows == 0:
            continue
        mean = float(np.average(_scores_of(scores.items, name), weights=weights))
        said = model.metrics.get(scores.main_metric, math.nan)
        if math.isfinite(mean) and not abs(mean - said) <= _ROUNDING:
            raise UserError(
                f"{path} says that the {name}'s {scores.main_metric} is {said:.6g}, but its items give {mean:.6g}; run "
                "the evaluation again"
            )


def _text(content: dict[str, Any], key: str, path: Path) -> str:
    if not isinstance(content.get(key), str) or not content[key]:
        raise UserError(f"{path} has no text as {key}; run the evaluation again")
    return str(content[key])


def _model(content: dict[str, Any], key: str, path: Path) -> ScoredModel:
    part = content.get(key)
    if not isinstance(part, dict) or not isinstance(part.get("metrics"), dict):
        raise UserError(f"{path} has no {key} with metrics; run the evaluation again")
    served = part.get("served", {})
    if not isinstance(served, dict):
        raise UserError(f"{path}: what the {key} takes as it is served is no object; run the evaluation again")
    for name, value in [*part["metrics"].items(), *served.items()]:
        if type(value) not in (int, float):  # a bool is an int
            raise UserError(f"{path}: {key} metric {name} is no number; run the evaluation again")
    return ScoredModel(
        model_digest=_text(part, "model_digest", path),
        test_digest=_text(part, "test_digest", path),
        metrics={name: float(value) for name, value in part["metrics"].items()},
        served={name: float(value) for name, value in served.items()},
        requests_digest=_text(part, "requests_digest", path) if key == "candidate" else "",
        version=_text(part, "version", path) if key == "champion" else None,
    )


def _items(path: Path, with_champion: bool) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = existing_file(path, "the per-item scores")
    try:
        items = pq.read_table(path)
    except pa.ArrowInvalid:
        raise UserError(f"the per-item scores {path} are no Parquet file; run the evaluation again") from None
    missing = {"item_id", "image_id", "candidate", "champion"} - set(items.column_names)
    if missing:
        raise UserError(f"{path} lacks column {', '.join(sorted(missing))}; run the evaluation again")
    if len(set(items["item_id"].to_pylist())) < items.num_rows:
        raise UserError(f"{path} has items more than once; run the evaluation again")
    if with_champion and items["champion"].null_count:
        raise UserError(f"{path} lacks the champion's score of some items; run the evaluation again")
    return items
