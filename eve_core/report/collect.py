"""Everything about one pipeline run, read back from MLflow.

Each step is an MLflow run whose tag `eve.inputs` names the runs that made its inputs, so that a step that was reused
from an earlier pipeline run is found by walking back from the steps that were not.
"""

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eve_core.config import RegistryConfig, RunConfig
from eve_core.registry.tracking import (
    APPROVAL_TAG,
    CHANGED_TAG,
    FAILURE_TAG,
    INPUTS_TAG,
    STEP_TAG,
    Tracking,
    open_experiment,
    pipeline_run,
    step_runs,
)


@dataclass
class StepSummary:
    """One step, as MLflow holds it."""

    name: str
    """The step, such as finetune-vqa."""
    run_id: str
    """Its MLflow run."""
    status: str
    """FINISHED, FAILED, KILLED or RUNNING."""
    reused: bool
    """Whether it ran in an earlier pipeline run."""
    seconds: float
    """How long it ran."""
    tags: dict[str, str]
    """Its tags."""
    inputs: list[str]
    """MLflow runs of the steps before it."""
    failure: str | None = None
    """Why it failed; None when it did not."""
    seconds_before: float = 0.0
    """How long its earlier attempts in this run took."""


@dataclass
class TaskSummary:
    """One task of the run."""

    task: str
    """vqa, nlvr2 or retrieval."""
    blessing: dict[str, Any] | None = None
    """The gate's verdict; None when the run did not come so far."""
    champion_before: str | None = None
    """Version that was champion when the run came to its gate."""
    champion_after: str | None = None
    """Version that is champion now."""
    changed: bool = False
    """Whether this run moved the champion alias."""
    awaits_approval: str | None = None
    """Version that somebody has to agree to; None when there is none."""


@dataclass
class RunSummary:
    """One pipeline run."""

    key: str
    """Its key."""
    run_id: str
    """Its MLflow parent run."""
    steps: dict[str, StepSummary] = field(default_factory=dict)
    """By name, in the order they ran; reused ones included."""
    tasks: dict[str, TaskSummary] = field(default_factory=dict)
    """By name."""

    def metrics(self) -> dict[str, float]:
        """The candidates' metrics and verdicts, as metrics of the whole run ("vqa.accuracy", "vqa.blessed")."""
        found: dict[str, float] = {}
        for name, task in self.tasks.items():
            if task.blessing is not None:
                found[f"{name}.blessed"] = float(task.blessing["blessed"])
                values = task.blessing["metrics"].items()
                found.update({f"{name}.{metric}": value for metric, value in values if value is not None})
        return found

    def node_hours(self, config: RunConfig) -> float:
        """Hours of the nodes that this run's training steps had, in all attempts; reused ones had theirs before."""
        nodes = {"pretrain": config.pretraining.launch.nodes}
        nodes |= {f"finetune-{name}": task.finetuning.launch.nodes for name, task in config.tasks.items()}
        own = [step for name, step in self.steps.items() if name in nodes and not step.reused]
        return sum((step.seconds_before + step.seconds) * nodes[step.name] for step in own) / 3600

    def artifact(self, registry: RegistryConfig, step: str, path: str) -> AbstractContextManager[Path | None]:
        """A copy of an artifact of a step, for as long as it is read; None when there is none."""
        if step not in self.steps:
            return contextlib.nullcontext()
        return _download(open_experiment(registry), self.steps[step].run_id, path)


def collect(registry: RegistryConfig, key: str) -> RunSummary:
    """Read one pipeline run back.

    Args:
        registry: the registry section.
        key: key of the pipeline run.
    """
    from eve_core.registry.promotion import champion

    tracking = open_experiment(registry)
    summary = RunSummary(key, pipeline_run(registry, key, run_key=key))
    for run in step_runs(registry, key):
        step = _step(run, reused=False)
        earlier = summary.steps.get(step.name)
        step.seconds_before = earlier.seconds_before + earlier.seconds if earlier else 0.0
        summary.steps[step.name] = step
    for step in list(summary.steps.values()):
        _add_inputs(tracking, summary, step)
    summary.steps = dict(sorted(summary.steps.items(), key=lambda item: item[1].reused, reverse=True))

    for name, step in summary.steps.items():
        if not name.startswith("gate-") or step.reused:
            continue
        task = name.removeprefix("gate-")
        entry = TaskSummary(task)
        with _download(tracking, step.run_id, "blessing") as verdict:
            if verdict is not None:
                entry.blessing = json.loads(verdict.read_text())
        now = champion(registry, task)
        entry.champion_after = now.version if now else None
        promoted = summary.steps.get(f"promote-{task}")
        entry.changed = promoted is not None and promoted.tags.get(CHANGED_TAG) == "true"
        entry.awaits_approval = promoted.tags.get(APPROVAL_TAG) if promoted is not None else None
        compared = (entry.blessing or {}).get("champion_version")
        # A repeated run is compared with what its model was promoted over, but that model was champion before it.
        entry.champion_before = compared if entry.changed else entry.champion_after
        summary.tasks[task] = entry
    return summary


def _add_inputs(tracking: Tracking, summary: RunSummary, step: StepSummary) -> None:
    """Add the steps that `step` was made from, and theirs, as far as they are not this run's own."""
    known = {other.run_id for other in summary.steps.values()}
    for run_id in step.inputs:
        if run_id not in known:
            found = _step(tracking.client.get_run(run_id), reused=True)
            summary.steps.setdefault(found.name, found)
            _add_inputs(tracking, summary, found)


def _step(run: Any, *, reused: bool) -> StepSummary:
    tags = dict(run.data.tags)
    end = run.info.end_time or run.info.start_time
    return StepSummary(
        name=tags.get(STEP_TAG, run.info.run_name),
        run_id=run.info.run_id,
        status=run.info.status,
        reused=reused,
        seconds=(end - run.info.start_time) / 1000,
        tags=tags,
        inputs=[run_id for run_id in tags.get(INPUTS_TAG, "").split(",") if run_id],
        failure=tags.get(FAILURE_TAG, "it left no reason" if run.info.status == "FAILED" else None),
    )


@contextlib.contextmanager
def _download(tracking: Tracking, run_id: str, path: str) -> Iterator[Path | None]:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory(prefix="eve-artifact-") as folder:
        copy = None
        with contextlib.suppress(MlflowException, OSError):
            copy = Path(
                download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder, tracking_uri=tracking.uri)
            )
        yield copy
