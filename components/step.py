"""What surrounds the work of every component: a run in MLflow, a log, lineage, a place to resume from."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_core.code_digest import code_digest
from eve_core.config import RunSettings, flat
from eve_core.errors import UserError, explain

if TYPE_CHECKING:
    from eve_core.registry.tracking import StepRun

RUN_KEY_VARIABLE = "EVE_PIPELINE_RUN"
"""Key of the pipeline run. In the environment, not a parameter, because a parameter would be part of the cache key."""
_STAMP = "step.json"
_DAYS_KEPT = 30


class Step:
    """A running step of a pipeline run.

    Attributes:
        settings: the run's settings.
        run: its MLflow run.
        data: the MLflow tags of the data that it and all later steps are made from.
    """

    def __init__(self, name: str, settings: RunSettings, run: "StepRun", data: dict[str, str]) -> None:
        self.name = name
        self.settings = settings
        self.run = run
        self.data = data

    def reads(self, revision: str, digest: str) -> None:
        """Say which data the step is made from; steps with inputs know it from them."""
        from eve_core.registry.tracking import DATA_DIGEST_TAG, DATA_REVISION_TAG

        self.data = {DATA_REVISION_TAG: revision, DATA_DIGEST_TAG: digest}
        self.run.set_tags(self.data)

    def scratch(self, *inputs: Any) -> Path:
        """A folder for checkpoints that the same step with the same `inputs` finds again after it was interrupted.

        It stays when the step is done, for what it made is on its way to Kubeflow's store then; those that nothing was
        written to for a month are removed.
        """
        key = hashlib.sha256(json.dumps([self.settings.code_digest, self.settings.seed, *inputs]).encode()).hexdigest()
        folder = self.settings.workspace / "scratch" / f"{self.name}-{key[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for other in folder.parent.glob(f"{self.name}-*"):
            if other.stat().st_mtime < time.time() - _DAYS_KEPT * 24 * 3600:
                shutil.rmtree(other, ignore_errors=True)
        return folder


@contextlib.contextmanager
def step(
    name: str,
    run: dict[str, Any],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    params: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Run the body as one step: its MLflow run, its log file, and what it was made from.

    Args:
        name: the step, with its task where it runs for several ("finetune-vqa").
        run: RunSettings as a dictionary.
        inputs: folders written by earlier steps; their MLflow runs become this one's `eve.inputs`.
        outputs: folders that the body writes; each is stamped with this step's MLflow run.
        params: what the step was given, for MLflow.
    """
    from eve_core.registry.tracking import INPUTS_TAG, step_run

    wait_for_mlflow()
    settings = RunSettings.model_validate(run)
    if settings.source_digest not in ("", code_digest()):
        raise UserError(
            f"{name} runs other code than whoever started the run has, and its results would be taken for that code's; "
            "build the images again (make images), or start the run from the commit that they are of"
        )
    with told(name), step_run(settings.registry, pipeline_run_key(), name, params=flat(params or {})) as mlflow_run:
        sources = [stamp for folder in inputs if (stamp := _read_stamp(Path(folder)))]
        current = Step(name, settings, mlflow_run, next((stamp["data"] for stamp in sources if stamp["data"]), {}))
        runs = ",".join(stamp["run_id"] for stamp in sources)
        mlflow_run.set_tags({INPUTS_TAG: runs, "eve.code_digest": settings.code_digest, **current.data})
        yield current
        for folder in outputs:
            Path(folder).mkdir(parents=True, exist_ok=True)
            stamp = {"step": name, "run_id": mlflow_run.run_id, "pipeline_run": pipeline_run_key()}
            (Path(folder) / _STAMP).write_text(json.dumps({**stamp, "data": current.data}) + "\n")


def share_cores() -> None:
    """Leave the other half of the cores to the other task: the local runner executes two tasks side by side."""
    if "EVE_PROGRESS" in os.environ:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


def wait_for_mlflow() -> None:
    """Have MLflow's server asked again for minutes while it is away, for nobody waits for a step's answer."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "7"


def pipeline_run_key() -> str:
    """The key of the pipeline run that this process belongs to.

    Raises:
        UserError: it is not in the environment.
    """
    key = os.environ.get(RUN_KEY_VARIABLE)
    if not key:
        raise UserError(f"{RUN_KEY_VARIABLE} is not set; run the pipeline with `eve run`, or set it to the run's name")
    return key


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Under `eve run`, keep the step's output in a file of its own and leave the reason of a failure where it looks."""
    folder = os.environ.get("EVE_PROGRESS")
    if folder:
        os.environ["EVE_STEP"] = name
        log = open(Path(folder) / f"{name}.log", "a")  # noqa: SIM115 (it stays the process's output to the end)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
        if folder:
            (Path(folder) / f"{name}.done").touch()
    except Exception as error:
        if folder:
            (Path(folder) / f"{name}.failed").write_text(explain(error, "writing its results"))
            traceback.print_exc()
        raise


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    path = folder / _STAMP
    return json.loads(path.read_text()) if path.is_file() else None
