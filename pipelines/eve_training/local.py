"""Running the pipeline on this machine: kfp.local, a subprocess or a container a step, finished steps reused."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from components.step import RUN_KEY_VARIABLE
from eve_core.config import RunConfig
from eve_core.errors import UserError
from pipelines.eve_training.arguments import at_commit, pipeline_arguments, pipeline_name
from pipelines.eve_training.display import Display
from pipelines.eve_training.forked_steps import forked_steps

Runner = Literal["subprocess", "docker"]


@dataclass(frozen=True)
class LocalRun:
    """A finished run."""

    key: str
    """Its key, the name of the MLflow parent run."""
    folder: Path
    """Its folder in the workspace: steps' logs and the report."""
    failure: str | None
    """Why it failed; None when it succeeded. A gate that refuses is no failure."""


def run_locally(
    config: RunConfig, display: Display, runner: Runner = "subprocess", *, commit: str | None = None
) -> LocalRun:
    """Execute the pipeline.

    Args:
        config: the run.
        display: shows the steps' progress.
        runner: what steps are: subprocesses, or containers of the project's images.
        commit: the data revision, where somebody has resolved it; what the config's stands for now when not given.

    Raises:
        UserError: the workspace cannot be written; or there is no Docker, or an image is missing.
    """
    from kfp import local

    from pipelines.eve_training.pipeline import training_pipeline

    key = pipeline_name(config, datetime.now(UTC))
    workspace = config.workspace.absolute()
    folder = workspace / "runs" / key
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"the workspace {workspace} cannot be written ({error}); change `workspace` in the config"
        ) from None
    arguments = pipeline_arguments(config)
    if commit is not None:
        arguments = at_commit(arguments, commit)
    kfp_runner: Any = local.SubprocessRunner(use_venv=False)
    if runner == "docker":
        from pipelines.eve_training.containers import container_runner

        kfp_runner = container_runner(config, key, folder)
    local.init(
        runner=kfp_runner,
        pipeline_root=str(workspace / "artifacts"),
        enable_caching=True,
        cache_root=str(workspace / "cache"),
        raise_on_error=True,
    )
    failed = False
    log = folder / "pipeline.log"
    with contextlib.ExitStack() as around:
        around.enter_context(_environment(key, folder))
        if runner == "subprocess":
            around.enter_context(forked_steps(log))
        around.enter_context(display.watching(folder))
        around.enter_context(_logged(log, display))
        try:
            training_pipeline()(**arguments)
        except RuntimeError as error:  # kfp's word for a failed step
            logging.getLogger(__name__).error("%s", error)
            failed = True
    return LocalRun(key, folder, _why(folder) if failed else None)


@contextlib.contextmanager
def _environment(key: str, folder: Path) -> Iterator[None]:
    """What steps, being subprocesses, inherit."""
    before = dict(os.environ)
    os.environ.update({RUN_KEY_VARIABLE: key, "EVE_PROGRESS": str(folder), "HF_HUB_OFFLINE": "1"})
    # Without stored bytecode every step would compile all its imports anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Threads that wait must sleep: where other work goes on too, spinning makes a training step 20 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _logged(path: Path, display: Display) -> Iterator[None]:
    """Send what kfp prints and logs to a file, and tell the display which steps were reused."""
    root = logging.getLogger()
    with path.open("a", buffering=1) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that a local run ignores images and resources
        handler = logging.StreamHandler(file)
        handler.addFilter(display.notice)
        before, level = root.handlers[:], root.level
        root.handlers, root.level = [handler], logging.INFO
        stdout, sys.stdout = sys.stdout, file
        try:
            yield
        finally:
            sys.stdout = stdout
            root.handlers, root.level = before, level


def _why(folder: Path) -> str:
    """The reasons that failed steps left, or where to look when a step died without a word."""
    reasons = [f"{path.stem}: {path.read_text()}" for path in sorted(folder.glob("*.failed"))]
    return "; ".join(reasons) or f"a step died without giving a reason; its output is in {folder}"
