"""Is a run due? What MLflow knows of earlier runs, champions and drift, against what the config asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from eve_core.config import DriftTrigger, RunConfig, ScheduleConfig
from eve_core.registry.tracking import (
    DATA_REVISION_TAG,
    Tracking,
    find_finished_run,
    last_finished_run,
    open_experiment,
)

_DRIFT_TAG, _AGAINST_TAG = "eve.drift", "eve.drift_against"
_DISTANCE = "distance"


@dataclass(frozen=True)
class Decision:
    """Whether a run is started, and why."""

    due: bool
    """Whether it is."""
    reason: str
    """In words."""
    earlier: str | None = None
    """Key of the run that trained on this data revision already."""


def decide(config: RunConfig, commit: str, now: datetime, *, insist: bool = False) -> Decision:
    """Decide about a data revision.

    Args:
        config: the run.
        commit: the data revision.
        now: the time, with its zone.
        insist: somebody asked for a run; what was done before does not matter.

    Raises:
        UserError: MLflow cannot be reached, or the data cannot be brought to measure its drift.
    """
    if insist:
        return Decision(True, "somebody asked for it")
    earlier = find_finished_run(config.registry, config_digest=config.digest(), data_revision=commit)
    if earlier is not None:
        return Decision(False, f"nothing to do: {earlier} trained on data revision {commit[:12]}", earlier)
    refused_at = _all_refused_at(config)
    rest = timedelta(days=config.schedule.cool_down_days)
    if refused_at is not None and now < refused_at + rest:
        until = f"{refused_at + rest:%Y-%m-%d %H:%M} UTC"
        return Decision(False, f"cooling down until {until}: the gates refused every model of the run before")
    if config.schedule.new_data:
        return Decision(True, f"data revision {commit[:12]} is new")
    drift = config.schedule.drift
    if drift is not None:
        return has_drifted(drift, _distances(config, commit, drift.windows))
    return Decision(False, f"data revision {commit[:12]} is new, but the schedule says to wait for somebody")


def has_drifted(trigger: DriftTrigger, distances: Sequence[float]) -> Decision:
    """Decide by the newest measurements, newest last: one that sticks out is not enough, and a few near are none."""
    newest = [*distances][-trigger.windows :]
    above = sum(distance > trigger.threshold for distance in newest)
    said = f"{above} of the last {len(newest)} data revisions drifted by more than {trigger.threshold}"
    return Decision(above >= trigger.violations, f"{said}, {trigger.violations} have to")


def estimated_cost(config: RunConfig, commit: str) -> float | None:
    """What training on a data revision will cost on the pool's cheapest nodes; None where no prices are known.

    Raises:
        UserError: the revision's manifest cannot be read, or lacks a set whose size tells how long to train.
    """
    if config.pool is None or not config.pool.price_per_node_hour:
        return None
    from eve_core.data.versioning.contents import manifest_of
    from eve_core.training.planning import count_examples, plan_run

    manifest = manifest_of(config.data.model_copy(update={"revision": commit}))
    plans = plan_run(config, count_examples(config, manifest)[0])
    return sum(plan.node_hours for plan in plans) * min(config.pool.price_per_node_hour.values())


def too_expensive(schedule: ScheduleConfig, cost: float | None) -> str | None:
    """Why a run of an estimated cost is not started; None where it is."""
    if schedule.max_cost is None or cost is None or cost <= schedule.max_cost:
        return None
    return (
        f"not started: it would cost about {cost:,.0f}, and schedule.max_cost is {schedule.max_cost:,.0f}; raise it, "
        "or run it by hand"
    )


def _all_refused_at(config: RunConfig) -> datetime | None:
    """When the newest run of the config ended, if its gates refused every model."""
    run = last_finished_run(config.registry, config_digest=config.digest())
    if run is None:
        return None
    verdicts = [value for name, value in run.data.metrics.items() if name.endswith(".blessed")]
    if not verdicts or any(verdicts):
        return None
    return datetime.fromtimestamp(run.info.end_time / 1000, UTC)


def _distances(config: RunConfig, commit: str, number: int) -> list[float]:
    """How far the newest data revisions are from the champions' data, the newest last; `commit` is measured first.

    What was measured from the data of earlier champions counts no more.
    """
    from eve_core.registry.promotion import champion

    champions = [champion(config.registry, task) for task in config.tasks]
    digests = sorted({version.data_digest for version in champions if version is not None})
    against = " ".join(digests)
    tracking = open_experiment(config.registry)
    known = _measurements(tracking, config, against, number)
    if commit not in [revision for revision, _ in known]:
        distance = _measure(config, commit, digests)
        if distance is not None:
            tags = {_DRIFT_TAG: config.name, _AGAINST_TAG: against, DATA_REVISION_TAG: commit}
            run = tracking.client.create_run(tracking.experiment_id, run_name="drift", tags=tags)
            tracking.client.log_metric(run.info.run_id, _DISTANCE, distance)
            tracking.client.set_terminated(run.info.run_id)
            known = _measurements(tracking, config, against, number)
    return [distance for _, distance in known]


def _measurements(tracking: Tracking, config: RunConfig, against: str, number: int) -> list[tuple[str, float]]:
    ours = f"tags.`{_DRIFT_TAG}` = '{config.name}' and tags.`{_AGAINST_TAG}` = '{against}'"
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"{ours} and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=number,
    )
    return [(run.data.tags[DATA_REVISION_TAG], run.data.metrics[_DISTANCE]) for run in found][::-1]


def _measure(config: RunConfig, commit: str, digests: Sequence[str]) -> float | None:
    """The largest distance of any statistic from the data of these digests; None without any."""
    from eve_core.data.versioning.location import fetch_to_workspace
    from eve_core.quality import measure_drift
    from eve_core.quality.earlier import statistics_of_data

    with TemporaryDirectory() as scratch:
        at_commit = config.data.model_copy(update={"revision": commit})
        data = fetch_to_workspace(at_commit, config.shared_workspace(), Path(scratch))
        if data.digest in digests:
            return 0.0
        reports = [statistics_of_data(config.registry, digest, Path(scratch) / digest) for digest in digests]
        distances = [measure_drift(data, config.validation, report) for report in reports if report is not None]
    return max(distances, default=None)
