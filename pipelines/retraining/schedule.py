"""Prefect deployments of the retraining flow: one a config, with its times."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from eve_core.config import load_config
from eve_core.errors import UserError
from pipelines.retraining.alone import SKIPPED

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import State

FLOW = "eve-retraining"

ANSWERED = "Answered"
"""State of a flow run that heard what somebody said to its models, and does it."""

_HEARS_WITHIN_SECONDS = 60.0  # a run looks every ten
_DONE_WITHIN_SECONDS = 3600.0
_ENDS_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class Deployed:
    """A config's deployment."""

    name: str
    """The config's name."""
    cron: str | None
    """When it looks whether a run is due; None for never by itself."""
    paused: bool
    """Whether it looks at all."""
    next: datetime | None
    """When it looks next."""
    last: str
    """State of its newest run, in words."""
    waiting: list[str]
    """Runs that wait for approval."""


def apply(config_path: Path) -> Deployed:
    """Make the deployment of a config what its section schedule says; its work pool is made when missing.

    Raises:
        UserError: `cron` is none, or Prefect's server cannot be reached.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import EntrypointType, RunnerDeployment
    from prefect.exceptions import ObjectNotFound

    from pipelines.retraining.flow import retrain

    config = load_config(config_path)
    schedule = config.schedule
    try:
        times = [CronSchedule(cron=schedule.cron, timezone=schedule.timezone)] if schedule.cron else []
    except ValueError:
        raise UserError(
            f"schedule.cron {schedule.cron!r} says no time; give minute, hour, day, month and weekday: 0 3 * * 1"
        ) from None
    with _client() as client:
        try:
            client.read_work_pool(schedule.work_pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=schedule.work_pool, type="process"))
        deployment = retrain.to_deployment(
            name=config.name,
            schedules=times,
            parameters={"config_path": str(config_path.absolute())},
            work_pool_name=schedule.work_pool,
            job_variables={"working_dir": str(Path.cwd())},  # where the config's relative paths are from
            description=f"Retrains {config.name} when it is due.",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        assert isinstance(deployment, RunnerDeployment)  # a coroutine, where it is called by one
        deployment.apply()
        return _deployed(client, _found(client, config.name))


def show() -> list[Deployed]:
    """All deployments of the flow.

    Raises:
        UserError: Prefect's server cannot be reached.
    """
    with _client() as client:
        found = client.read_deployments()
        ours = [deployment for deployment in found if deployment.entrypoint and _is_ours(deployment)]
        return [_deployed(client, deployment) for deployment in sorted(ours, key=lambda deployment: deployment.name)]


def pause(name: str, *, paused: bool = True) -> Deployed:
    """Stop looking, or go on.

    Raises:
        UserError: there is no such deployment, or Prefect's server cannot be reached.
    """
    with _client() as client:
        identifier = _found(client, name).id
        (client.pause_deployment if paused else client.resume_deployment)(identifier)
        return _deployed(client, _found(client, name))


def run_now(name: str, *, insist: bool = False) -> str:
    """Ask a worker to look right now; with `insist`, to run whatever was done before. Prefect's name of the run.

    Raises:
        UserError: there is no such deployment, or Prefect's server cannot be reached.
    """
    with _client() as client:
        run = client.create_flow_run_from_deployment(_found(client, name).id, parameters={"insist": insist})
        return run.name


def answer(name: str, *, approve: bool, reason: str) -> str:
    """Answer the run that waits for approval, and see it done; what was done, in words.

    Raises:
        UserError: no run waits, or it has died meanwhile; it failed to do what was said; or Prefect's server cannot be
            reached.
    """
    with _client() as client:
        waiting = _runs(client, _found(client, name).id, ["PAUSED"])
        if not waiting:
            raise UserError(f"no run of {name} waits for approval; see `eve schedule list`")
        run = waiting[0]
        result = client.resume_flow_run(run.id, run_input={"approve": approve, "reason": reason})
        if result.status.value != "ACCEPT":
            raise UserError(f"Prefect did not take the answer: {getattr(result.details, 'reason', result.status)}")
        return _done(client, run)


def end_lost_runs(deployment: UUID, mine: UUID) -> list[tuple["FlowRun", "State[Any]"]]:
    """End the other runs of a deployment that only seem to go on, or to be cancelled; for the one `alone` with it.

    Returns:
        They, and what they are now.

    Raises:
        UserError: Prefect's server cannot be reached.
    """
    going_on = ["PAUSED", "RUNNING", "CANCELLING"]
    with _client() as client:
        found = [run for run in _runs(client, deployment, going_on) if run.id != mine]
        if any(run.state_name != "Paused" for run in found):
            time.sleep(_ENDS_WITHIN_SECONDS)  # it may be about to hear that it is not alone, or to say how it ended
            known = {run.id for run in found}
            found = [run for run in _runs(client, deployment, going_on) if run.id in known]
        return [(run, _end(client, run)) for run in found]


def _done(client: "SyncPrefectClient", run: Any) -> str:
    """What a run said at its end that was answered just now."""
    from httpx import TransportError

    answered, state = time.monotonic(), None
    while time.monotonic() - answered < _DONE_WITHIN_SECONDS:
        with contextlib.suppress(TransportError):  # the answer is taken; Prefect's server may be away for a while
            state = client.read_flow_run(run.id).state
        if state is not None and state.is_completed():
            return f"{run.name}: {state.message}"
        if state is not None and state.is_final():
            raise UserError(f"run {run.name} took the answer, but ended {state.name}: {state.message}")
        lost = state is not None and state.name != ANSWERED
        if lost and time.monotonic() - answered > _HEARS_WITHIN_SECONDS:
            _end(client, run)
            raise UserError(
                f"run {run.name} does not hear the answer; its process must be gone. Nothing is promoted by it: `eve "
                "promote` makes a version champion by hand, `eve schedule run-now` asks again"
            )
        time.sleep(1)
    raise UserError(f"run {run.name} took the answer, but has not ended yet; see `eve schedule list`, and its log")


def _end(client: "SyncPrefectClient", run: Any) -> "State[Any]":
    from prefect.states import Cancelled, Crashed

    message = "its process died without a word"
    state: State[Any] = (Cancelled if run.state.is_cancelling() else Crashed)(message=message)
    client.set_flow_run_state(run.id, state)
    return state


def _deployed(client: "SyncPrefectClient", deployment: Any) -> Deployed:
    times: list[Any] = [schedule.schedule for schedule in deployment.schedules if schedule.active]
    scheduled = [run.expected_start_time for run in _runs(client, deployment.id, ["SCHEDULED"])]
    begun = _runs(client, deployment.id, ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CRASHED"])
    last = f"{begun[0].name}: {begun[0].state_name}" if begun else "never ran"
    waiting = [run.name for run in _runs(client, deployment.id, ["PAUSED"])]
    cron = times[0].cron if times else None
    return Deployed(deployment.name, cron, bool(deployment.paused), min(scheduled, default=None), last, waiting)


def _found(client: "SyncPrefectClient", name: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(f"{FLOW}/{name}")
    except ObjectNotFound:
        raise UserError(f"{name} is not scheduled; `eve schedule apply --config FILE` does that") from None


def _runs(client: "SyncPrefectClient", deployment: UUID, states: list[str]) -> list[Any]:
    """Of a deployment, in a state of one of these types and not skipped, the newest first."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterState,
        FlowRunFilterStateName,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    state = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType(state) for state in states]),
        name=FlowRunFilterStateName(not_any_=[SKIPPED]),
    )
    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]), state=state)
    return client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC)


def _is_ours(deployment: Any) -> bool:
    return str(deployment.entrypoint).startswith("pipelines.retraining.flow")


@contextlib.contextmanager
def _client() -> Iterator["SyncPrefectClient"]:
    from httpx import HTTPStatusError, TransportError
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if address is None:
        raise UserError("no Prefect server is named; start one (`prefect server start`) and set PREFECT_API_URL")
    with get_client(sync_client=True) as client:
        reason = client.api_healthcheck()
        if reason is not None:
            raise UserError(f"Prefect's server at {address} does not answer ({reason}); check PREFECT_API_URL")
        try:
            yield client
        except TransportError as error:
            raise UserError(f"Prefect's server at {address} does not answer any more: {error}") from error
        except HTTPStatusError as error:
            if error.response.status_code not in (401, 403):
                raise
            raise UserError(
                f"Prefect's server at {address} does not let you in; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
            ) from error
