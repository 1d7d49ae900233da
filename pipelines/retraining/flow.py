"""The retraining flow: is a run due, what would it cost, run it, ask for approval, promote, tell people."""

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect import Flow, flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, TerminationSignal
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Completed, Running, State

from eve_core.config import RunConfig, load_config
from eve_core.report import RunSummary
from pipelines.retraining.due import Decision
from pipelines.retraining.schedule import ANSWERED, FLOW, end_lost_runs

# A server that is away for a minute must not cost a night.
_WAITS = [5.0, 20.0, 60.0]
_SECONDS_BETWEEN_LOOKS = 30.0
_KUBEFLOW_LABEL = "eve.kubeflow_run"
Answer = TypeVar("Answer")


class Approval(RunInput):
    """What somebody says to a model that waits for approval."""

    approve: bool
    """Whether it may become champion."""
    reason: str
    """Kept in the promotion log."""


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def data_revision(config: RunConfig) -> str:
    """The commit that the config's data revision stands for now."""
    from eve_core.data.versioning import resolve_revision

    return resolve_revision(config.data).commit


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def decide_whether_due(config: RunConfig, commit: str, insist: bool) -> Decision:
    """See `pipelines.retraining.due`."""
    from pipelines.retraining.due import decide

    return decide(config, commit, datetime.now(UTC), insist=insist)


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def estimate_cost(config: RunConfig, commit: str) -> float | None:
    """See `pipelines.retraining.due`."""
    from pipelines.retraining.due import estimated_cost

    return estimated_cost(config, commit)


@task
def run_workflow(config: RunConfig, commit: str, insist: bool) -> str:
    """Run the training pipeline on a data revision, here or on the cluster, and wait for its end; the key of the run.

    Raises:
        UserError: a step failed; the message has its reason.
    """
    from eve_core.errors import UserError

    if config.schedule.submit:
        return _run_on_cluster(config, commit, insist)
    import sys

    from rich.console import Console

    from pipelines.eve_training.display import Display
    from pipelines.eve_training.local import run_locally

    finished = run_locally(config, Display(Console(file=sys.stdout)), commit=commit)
    if finished.failure is not None:
        raise UserError(finished.failure)
    return finished.key


def _run_on_cluster(config: RunConfig, commit: str, insist: bool) -> str:
    """Kubeflow itself tries a step again that failed, but not one whose pod is gone."""
    from eve_core.errors import UserError
    from eve_core.registry.tracking import steps_cut_off
    from eve_core.report import notify
    from pipelines.eve_training import kubeflow

    others = _patiently(kubeflow.KubeflowAway, partial(kubeflow.others, config, commit))
    if others:  # a lost worker's, or somebody's
        notify(config.notification, f"retraining {config.name}: waits for the end of {', '.join(others)} on Kubeflow")
    while others:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        with contextlib.suppress(kubeflow.KubeflowAway):
            others = kubeflow.others(config, commit)
    for left in reversed(range(config.schedule.resubmissions + 1)):
        submitted = _patiently(kubeflow.KubeflowAway, partial(kubeflow.submit, config, again=insist, commit=commit))
        print(f"{submitted.name}: {submitted.url}")
        _label(submitted.run_id)
        ended = _patiently(kubeflow.KubeflowAway, partial(kubeflow.wait, config, submitted.run_id))
        if ended.state == kubeflow.SUCCEEDED:
            return submitted.run_id
        cut_off: list[str] = []
        if ended.state == kubeflow.FAILED:
            with contextlib.suppress(UserError):  # what went wrong is worth more than that MLflow is away
                cut_off = _patiently(UserError, partial(steps_cut_off, config.registry, submitted.run_id))
        if not (left and cut_off):
            break
        print(f"{', '.join(cut_off)}: cut off; submitted again, to go on from there")
    failed = [f"{step.name}: {step.error}" for step in ended.steps if step.state == kubeflow.FAILED]
    failed += [f"{step} was cut off" for step in cut_off]
    raise UserError(
        f"run {ended.name} on Kubeflow ended {ended.state}: {'; '.join(failed) or ended.error or 'stopped by somebody'}"
    )


def _label(kubeflow_run: str) -> None:
    """Note what runs on Kubeflow for this flow run, so that it ends when somebody cancels that."""
    if runtime.flow_run.id is None:
        return
    with contextlib.suppress(HTTPError), get_client(sync_client=True) as client:  # the run is worth more than the note
        label = partial(client.update_flow_run_labels, UUID(runtime.flow_run.id), {_KUBEFLOW_LABEL: kubeflow_run})
        _patiently(HTTPError, label)


def _patiently(away: type[Exception], ask: Callable[[], Answer]) -> Answer:
    """What takes a node away may take servers along for a while."""
    for seconds in _WAITS:
        with contextlib.suppress(away):
            return ask()
        time.sleep(seconds)
    return ask()


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def collect_outcome(config: RunConfig, key: str) -> RunSummary:
    """What the run came to, from MLflow."""
    from eve_core.report import collect

    return collect(config.registry, key)


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def still_waiting(config: RunConfig, summary: RunSummary) -> dict[str, str]:
    """The versions of a run that wait for approval and still are their tasks' candidates, by task."""
    from eve_core.registry.models import CANDIDATE, aliases, registered_name
    from eve_core.registry.tracking import open_experiment

    if not config.registry.approval:
        return {}
    tracking = open_experiment(config.registry)
    found = {name: task.awaits_approval for name, task in summary.tasks.items() if task.awaits_approval}
    return {
        name: version
        for name, version in found.items()
        if aliases(tracking, registered_name(config.registry, name)).get(CANDIDATE) == version
    }


@task(retries=len(_WAITS), retry_delay_seconds=_WAITS)
def promote_approved(config: RunConfig, name: str, version: str, reason: str) -> str:
    """Make an approved version champion."""
    from eve_core.registry.promotion import promote

    promotion = promote(config.registry, task=name, version=version, reason=reason)
    return f"{name}: version {promotion.champion} is champion, before it {promotion.previous or 'none'}"


def tell_of_its_end(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """What a run that was cancelled or killed cannot tell itself."""
    _tell_of_its_end(load_config(Path(flow_run.parameters["config_path"])), flow_run, state)


def _tell_of_its_end(config: RunConfig, flow_run: FlowRun, state: State[Any]) -> None:
    """Stop what a cancelled run has on Kubeflow, too."""
    from eve_core.errors import UserError
    from eve_core.report import notify
    from pipelines.eve_training import kubeflow

    said = f"retraining {config.name}: run {flow_run.name} was stopped: {state.message}"
    submitted = _submitted_by(flow_run)
    if submitted is not None:
        try:
            if not state.is_crashed():
                if kubeflow.terminate(config, submitted):
                    said += f"; {submitted} on Kubeflow is told to stop, too"
            elif kubeflow.status(config, submitted).state not in kubeflow.ENDED:
                said += f"; {submitted} on Kubeflow goes on, and the next retraining waits for it"
        except UserError as error:
            said += f"; {submitted} on Kubeflow may go on: {error}"
    elif config.schedule.submit:
        said += "; what it may have submitted to Kubeflow goes on"
    notify(config.notification, said)


def _submitted_by(flow_run: FlowRun) -> str | None:
    """What runs on Kubeflow for a flow run, as far as is known."""
    with contextlib.suppress(HTTPError), get_client(sync_client=True) as client:
        label = client.read_flow_run(flow_run.id).labels.get(_KUBEFLOW_LABEL)
        return None if label is None else str(label)
    return None


@flow(name=FLOW, persist_result=False, on_cancellation=[tell_of_its_end], on_crashed=[tell_of_its_end])
def retrain(config_path: Path, insist: bool = False) -> State[str]:
    """One retraining, if it is due; one at a time, and one finished run for a config and a data revision.

    Args:
        config_path: the run's YAML file.
        insist: run it, whatever was done before.

    Returns:
        A state that says in words what was done; one named skipped, where another goes on.

    Raises:
        UserError: something failed.
    """
    from eve_core.report import notify
    from pipelines.retraining.alone import SKIPPED, Busy, alone

    config = load_config(config_path)
    try:
        with alone(config):
            context = FlowRunContext.get()
            if context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None:
                for run, state in end_lost_runs(context.flow_run.deployment_id, context.flow_run.id):
                    _tell_of_its_end(config, run, state)
            said = _retrain(config, insist)
            return Completed(message=said, data=said)
    except Busy as error:
        said = f"nothing done: {error}"
        return Completed(name=SKIPPED, message=said, data=said)
    except Exception as error:
        _raise_signal(error)
        notify(config.notification, f"retraining {config.name} failed: {error}")
        raise


def _raise_signal(error: BaseException) -> None:
    """Prefect answers a signal to stop with an error of its own, while it begins a task: raise the signal then."""
    cause = error.__context__
    while cause is not None:
        if isinstance(cause, TerminationSignal):
            raise cause
        cause = cause.__context__


def _retrain(config: RunConfig, insist: bool) -> str:
    from eve_core.report import notify
    from pipelines.retraining.due import too_expensive

    commit = data_revision(config)
    decision = decide_whether_due(config, commit, insist)
    if not decision.due:
        return _ask_again(config, decision.earlier) or decision.reason
    limited = config.schedule.max_cost is not None and not insist
    objection = too_expensive(config.schedule, estimate_cost(config, commit)) if limited else None
    if objection is not None:
        notify(config.notification, f"retraining {config.name}: {objection}")
        return objection
    key = run_workflow(config, commit, insist)
    said = [f"{key} trained on data revision {commit[:12]}, because {decision.reason}"]
    waiting = still_waiting(config, collect_outcome(config, key))
    if waiting:
        said += _ask(config, key, waiting)
        notify(config.notification, "\n".join(said))
    return "; ".join(said)


def _ask_again(config: RunConfig, key: str | None) -> str:
    """The question of an earlier run that nobody was there to ask, or to hear the answer to; empty without one."""
    if key is None:
        return ""
    waiting = still_waiting(config, collect_outcome(config, key))
    return "; ".join(_ask(config, key, waiting)) if waiting else ""


def _ask(config: RunConfig, key: str, waiting: dict[str, str]) -> list[str]:
    """Ask about the versions that wait, and do as is said."""
    from eve_core.report import notify

    versions = ", ".join(f"{name} version {version}" for name, version in waiting.items())
    notify(
        config.notification, f"run {key}: {versions} waits for approval, for {config.schedule.approval_hours:g} hours"
    )
    try:
        answer = pause_flow_run(
            wait_for_input=Approval.with_initial_data(
                description=f"Blessed in {key}: {versions}. May it become champion?", approve=False, reason=""
            ),
            timeout=int(config.schedule.approval_hours * 3600),
        )
    except FlowPauseTimeout:
        _goes_on("Unanswered")
        return [f"nobody approved {versions} in time; `eve promote` still can"]
    _goes_on(ANSWERED)
    if not answer.approve:
        return [f"{versions} was not approved: {answer.reason}"]
    reason = f"approved: {answer.reason or 'no reason given'}"
    return [promote_approved(config, name, version, reason) for name, version in waiting.items()]


def _goes_on(state: str) -> None:
    """Say so to whoever answered, and to Prefect, which fails runs that end while they seem to wait."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runtime.flow_run.id, Running(name=state), force=True)
