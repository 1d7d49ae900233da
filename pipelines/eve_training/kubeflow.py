"""The pipeline on Kubeflow: submitted once, watched, read."""

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eve_core.config import ClusterConfig, RunConfig, digest
from eve_core.data.versioning import resolve_revision
from eve_core.errors import UserError
from pipelines.eve_training.arguments import at_commit, cluster_arguments
from pipelines.eve_training.check import compile_pipeline
from pipelines.eve_training.pipeline import NAME

if TYPE_CHECKING:
    import kfp

TOKEN_VARIABLE = "KFP_TOKEN"
_TOKEN_FILE_VARIABLE, _TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH", "/var/run/secrets/kubeflow/pipelines/token"
SUCCEEDED, FAILED, CANCELED = "SUCCEEDED", "FAILED", "CANCELED"
ENDED = {SUCCEEDED, FAILED, CANCELED, "SKIPPED"}
_STOPPING = "CANCELING"
_RUN_NAME = re.compile(r"(.+-[0-9a-f]{12})(-\d+)?")
_PAGE = 100
_SECONDS_TO_ANSWER = 20
_LINES = 1000

Answer = TypeVar("Answer")


class KubeflowAway(UserError):
    """Kubeflow does not answer now, or cannot; later it may."""


@dataclass(frozen=True)
class Submission:
    """A run on Kubeflow."""

    run_id: str
    """Kubeflow's id of it."""
    name: str
    """Its name, which follows from what it computes."""
    url: str
    """Where people look at it."""
    new: bool
    """False when the same had been submitted before."""


@dataclass(frozen=True)
class StepState:
    """A step of a run."""

    name: str
    """Its name."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, ..."""
    seconds: float | None
    """How long it ran, so far."""
    error: str
    """What Kubeflow says went wrong."""


@dataclass(frozen=True)
class RunState:
    """A run, as Kubeflow has it."""

    run_id: str
    """Kubeflow's id of it."""
    name: str
    """Its name."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED, ..."""
    error: str
    """What Kubeflow says went wrong."""
    steps: list[StepState]
    """In the order in which they began."""


def submit(config: RunConfig, *, again: bool = False, commit: str | None = None) -> Submission:
    """Start a run, unless the same one is there.

    The same is the same config, code and data revision. One that failed or was cancelled is started anew: finished
    steps are reused, and training goes on from its last checkpoint.

    Args:
        config: with a section cluster.
        again: start it although the same run has succeeded.
        commit: the data revision, where somebody has resolved it; what the config's stands for now when not given.

    Raises:
        KubeflowAway: it does not answer; or the same run is being stopped.
        UserError: the config does not fit a cluster, the data has no such revision, Kubeflow does not take the token,
            or refuses.
    """
    arguments = cluster_arguments(config)
    arguments = at_commit(arguments, commit or resolve_revision(config.data).commit)
    cluster = _cluster(config)
    name = _name(config, arguments)
    client = _connect(cluster)
    earlier = [run for run in _runs_named(client, cluster, name) if _without_number(run) == name]
    alive = [run for run in earlier if run.state not in ENDED or (run.state == SUCCEEDED and not again)]
    if alive and alive[0].state == _STOPPING:
        raise KubeflowAway(
            f"run {alive[0].display_name} is being stopped; submit it again when `eve status {alive[0].run_id}` says "
            "that it has ended"
        )
    if alive:
        return Submission(alive[0].run_id, alive[0].display_name, _url(cluster, alive[0].run_id), False)
    pipeline_id, version_id = _upload(client, config)
    run = _asked(
        cluster,
        lambda: client.run_pipeline(
            experiment_id=_experiment(client, cluster),
            job_name=name + (f"-{len(earlier) + 1}" if earlier else ""),
            pipeline_id=pipeline_id,
            version_id=version_id,
            params=arguments,
            pipeline_root=cluster.pipeline_root,
            service_account=cluster.service_account,
        ),
    )
    return Submission(run.run_id, run.display_name or name, _url(cluster, run.run_id), True)


def others(config: RunConfig, commit: str) -> list[str]:
    """Ids of runs of a config that have to end before `submit` can, alone, start it on a data revision.

    Those that go on and compute something else, and the same one while it is being stopped.

    Raises:
        UserError: see `submit`.
    """
    cluster, ours = _cluster(config), _name(config, at_commit(cluster_arguments(config), commit))
    going_on = [run for run in _runs_named(_connect(cluster), cluster, config.name) if run.state not in ENDED]
    mine = [run for run in going_on if _without_number(run).rpartition("-")[0] == config.name]
    return [run.run_id for run in mine if _without_number(run) != ours or run.state == _STOPPING]


def repeat(config: RunConfig, cron: str) -> bool:
    """Let Kubeflow itself start a run at certain times, in place of an earlier such order for the same config.

    Args:
        config: with a section cluster.
        cron: when, six fields, from seconds to the day of the week.

    Returns:
        False when just that is ordered already.

    Raises:
        UserError: see `submit`.
    """
    cluster, arguments = _cluster(config), cluster_arguments(config)
    name = _name(config, {"cron": cron, **arguments})
    client = _connect(cluster)
    namespace = client.get_user_namespace() or None  # which this list, alone of all, does not add by itself
    found = _asked(cluster, lambda: client.list_recurring_runs(page_size=_PAGE, namespace=namespace)).recurring_runs
    mine = [run for run in found or [] if run.display_name.rpartition("-")[0] == config.name]
    same = [run for run in mine if run.display_name == name]
    if not same:
        pipeline_id, version_id = _upload(client, config)
        _asked(
            cluster,
            lambda: client.create_recurring_run(
                experiment_id=_experiment(client, cluster),
                job_name=name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                pipeline_id=pipeline_id,
                version_id=version_id,
                params=arguments,
                pipeline_root=cluster.pipeline_root,
                service_account=cluster.service_account,
            ),
        )
    for run in mine:  # they cannot be changed
        if run not in same[:1]:
            _asked(cluster, lambda run=run: client.delete_recurring_run(run.recurring_run_id))  # type: ignore[misc]
    return not same


def status(config: RunConfig, run_id: str) -> RunState:
    """How a run is.

    Raises:
        UserError: Kubeflow cannot be reached, does not take the token, or has no such run.
    """
    cluster = _cluster(config)
    client = _connect(cluster)
    run = _asked(cluster, lambda: client.get_run(run_id))
    details = (run.run_details.task_details if run.run_details else None) or []
    steps = [
        StepState(task.display_name, task.state or "PENDING", _seconds(task), _message(task.error))
        for task in sorted(details, key=lambda task: (task.start_time is None, str(task.start_time)))
        if not task.display_name.endswith("-driver") and task.display_name not in ("root", "executor")
    ]
    return RunState(run.run_id, run.display_name, _state(run), _message(run.error), steps)


def wait(config: RunConfig, run_id: str, seconds_between: float = 30.0) -> RunState:
    """Wait until a run has ended; for as long as Kubeflow does not answer, too.

    Raises:
        UserError: see `status`; but for a server that is away, after the first look.
    """
    state, stopping = status(config, run_id), False
    while state.state not in ENDED:
        stopping = state.state == _STOPPING
        time.sleep(seconds_between)
        with contextlib.suppress(KubeflowAway):
            state = status(config, run_id)
    return replace(state, state=CANCELED) if stopping and state.state == FAILED else state


def terminate(config: RunConfig, run_id: str) -> bool:
    """Stop a run; submitted again, it goes on from there.

    Returns:
        False when it had ended already.

    Raises:
        UserError: see `status`.
    """
    cluster = _cluster(config)
    client = _connect(cluster)
    try:
        _asked(cluster, lambda: client.terminate_run(run_id))
    except UserError:  # so it says of one that has ended, or is told already
        state = status(config, run_id).state
        if state not in {*ENDED, _STOPPING}:
            raise
        return state not in ENDED
    return True


def logs(config: RunConfig, run_id: str, step: str | None = None) -> Iterator[tuple[str, str]]:
    """What a run's pods wrote: pairs of a pod's step and its log, of failed steps when none is named.

    Raises:
        UserError: see `status`; or there is no such step, the cluster cannot be reached, or the pods are gone.
    """
    from kubernetes import client as kubernetes_client
    from kubernetes import config as kubernetes_config

    cluster = _cluster(config)
    run = _asked(cluster, lambda: _connect(cluster).get_run(run_id))
    details = (run.run_details.task_details if run.run_details else None) or []
    wanted = [task for task in details if (task.display_name == step if step else task.state == FAILED)]
    if not wanted:
        known = ", ".join(sorted({task.display_name for task in details})) or "none"
        what = f"there is no step {step}" if step else "no step failed"
        raise UserError(f"{what} in run {run_id}; its steps are {known}")
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            kubernetes_config.load_incluster_config()
        else:
            kubernetes_config.load_kube_config()
    except kubernetes_config.ConfigException as error:
        raise UserError(f"logs are the cluster's, and there is none to speak to ({error}); set KUBECONFIG") from None
    pods = kubernetes_client.CoreV1Api()
    for task in wanted:
        names = [task.pod_name, *(child.pod_name for child in task.child_tasks or [])]
        for name in filter(None, names):
            try:
                yield (
                    task.display_name,
                    pods.read_namespaced_pod_log(name, cluster.namespace, container="main", tail_lines=_LINES),
                )
            except kubernetes_client.ApiException as error:
                yield task.display_name, f"the log of pod {name} is gone ({error.reason})"


def _cluster(config: RunConfig) -> ClusterConfig:
    if config.cluster is None:
        raise UserError("there is no section cluster in the config, which says where Kubeflow is; add it")
    return config.cluster


def _connect(cluster: ClusterConfig) -> "kfp.Client":
    token = _token()
    request = urllib.request.Request(f"{cluster.endpoint.rstrip('/')}/apis/v2beta1/healthz")
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not to where a login page is
    try:  # the client itself tries for half a minute, and prints every attempt
        with urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER) as answer:
            json.loads(answer.read())
    except ValueError:
        raise _refusal(cluster, 401, "it answers with a page, perhaps to log in") from None
    except urllib.error.HTTPError as error:
        raise _refusal(cluster, error.code, error.reason) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise KubeflowAway(
            f"Kubeflow at {cluster.endpoint} does not answer ({reason}); check cluster.endpoint, and that it can be "
            "reached from here"
        ) from None
    import kfp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return _asked(
            cluster, lambda: kfp.Client(host=cluster.endpoint, namespace=cluster.namespace, existing_token=token)
        )


def _token() -> str | None:
    """From the variable; else from the file that a cluster keeps fresh in a pod, where Kubeflow's own client looks."""
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    file = Path(os.environ.get(_TOKEN_FILE_VARIABLE, _TOKEN_FILE))
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def _asked(cluster: ClusterConfig, ask: Callable[[], Answer]) -> Answer:
    """What the API answers; the client prints links that are wrong behind a proxy, and are left out."""
    import kfp_server_api
    import urllib3

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return ask()
    except kfp_server_api.ApiException as error:
        said = error.reason
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            said = json.loads(error.body).get("message", said)
        raise _refusal(cluster, error.status, said) from None
    except urllib3.exceptions.HTTPError as error:
        raise KubeflowAway(
            f"Kubeflow at {cluster.endpoint} stopped answering ({type(error).__name__}); run the same command again"
        ) from None


def _refusal(cluster: ClusterConfig, code: int, said: str) -> UserError:
    if code in (401, 403):
        return UserError(
            f"Kubeflow at {cluster.endpoint} does not let us in ({code}, {said}); put a fresh token into "
            f"{TOKEN_VARIABLE} (in a pod of the cluster: leave it out), and check that whoever it is of may use "
            f"namespace {cluster.namespace}"
        )
    kind = KubeflowAway if code >= 500 else UserError
    return kind(f"Kubeflow at {cluster.endpoint} refused ({code}): {said}")


def _upload(client: "kfp.Client", config: RunConfig) -> tuple[str, str]:
    """The pipeline's id, and that of the version that is this code on this cluster."""
    cluster = _cluster(config)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{NAME}.yaml"
        compile_pipeline(package, config)
        version = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        pipeline_id = _asked(cluster, lambda: client.get_pipeline_id(NAME))
        if pipeline_id is None:
            pipeline_id = _asked(cluster, lambda: client.upload_pipeline(str(package), NAME)).pipeline_id
        wanted = json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": version}]})
        found = _asked(cluster, lambda: client.list_pipeline_versions(pipeline_id, filter=wanted)).pipeline_versions
        if found:
            return pipeline_id, found[0].pipeline_version_id
        uploaded = _asked(
            cluster, lambda: client.upload_pipeline_version(str(package), version, pipeline_id=pipeline_id)
        )
        return pipeline_id, uploaded.pipeline_version_id


def _experiment(client: "kfp.Client", cluster: ClusterConfig) -> str:
    experiment_id: str = client.create_experiment(cluster.experiment).experiment_id
    return experiment_id


def _runs_named(client: "kfp.Client", cluster: ClusterConfig, name: str) -> list[Any]:
    """Runs whose names begin so, the newest first."""
    wanted = json.dumps(
        {"predicates": [{"operation": 9, "key": "display_name", "stringValue": name}]}
    )  # is a substring
    order = "created_at desc"
    found = _asked(cluster, lambda: client.list_runs(page_size=_PAGE, sort_by=order, filter=wanted)).runs
    return [run for run in found or [] if run.display_name.startswith(name)]


def _state(run: Any) -> str:
    """Kubeflow may call a run failed whose steps failed because it was told to stop."""
    before = ["", *(one.state for one in run.state_history or [] if one.state != FAILED)]
    stopped = run.state == FAILED and before[-1] in (_STOPPING, CANCELED)
    return CANCELED if stopped else str(run.state or "PENDING")


def _name(config: RunConfig, arguments: dict[str, Any]) -> str:
    """Of what a run computes, whatever the commit is called that the same code is from."""
    return f"{config.name}-{digest({**arguments, 'git_revision': ''})[:12]}"


def _without_number(run: Any) -> str:
    """The name that a run shares with those that repeat it; empty for one that is not from here."""
    found = _RUN_NAME.fullmatch(run.display_name)
    return found[1] if found else ""


def _url(cluster: ClusterConfig, run_id: str) -> str:
    return f"{cluster.endpoint.rstrip('/')}/#/runs/details/{run_id}"


def _seconds(task: Any) -> float | None:
    if task.start_time is None:
        return None
    end = task.end_time
    if end is None or end.year < 1971:  # how Kubeflow writes that it has not ended
        end = task.start_time.now(task.start_time.tzinfo)
    return float((end - task.start_time).total_seconds())


def _message(error: Any) -> str:
    return str(error.message) if error is not None and error.message else ""
