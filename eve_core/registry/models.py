"""Registering a blessed checkpoint as a version of `<prefix>-<task>`."""

import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from eve_core.config.run import RegistryConfig
from eve_core.data.shards import file_sha256
from eve_core.errors import UserError, existing_file
from eve_core.evaluation.blessing import Blessing, read_blessing
from eve_core.model_digest import defining_files, model_digest
from eve_core.registry.model_card import model_card
from eve_core.registry.signatures import IMAGE, INPUTS, OUTPUTS
from eve_core.registry.tracking import (
    DATA_DIGEST_TAG,
    DATA_REVISION_TAG,
    GIT_REVISION_TAG,
    PIPELINE_TAG,
    StepRun,
    Tracking,
    exclusive,
    open_experiment,
    step_run,
)

CANDIDATE, CHAMPION, PREVIOUS_CHAMPION = "candidate", "champion", "previous_champion"
TASK_TAG = "eve.task"
MODEL_DIGEST_TAG = "eve.model_digest"
BLESSING_DIGEST_TAG = "eve.blessing_digest"
BASELINE_TAG = "eve.baseline"
METRICS_TAG = "eve.metrics"
PARENT_TAG = "eve.parent_checkpoint"
"""Digest of the pre-trained model that it was fine-tuned from."""
# Where MLflow puts what `_staged` names.
STORED_CHECKPOINT, STORED_BLESSING = "artifacts/checkpoint", "artifacts/blessing.json"

_NEEDED_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "safetensors",
    "tokenizers",
    "pillow",
    "numpy",
    "pandas",
    "mlflow",
)


def register(
    config: RegistryConfig, *, task: str, checkpoint: Path, blessing: Path, requests: Path, run_key: str
) -> str:
    """Log a blessed checkpoint as a model, make it a version of the task's registered model and alias it candidate.

    The version is created last and in one piece, with all its tags: a run that is killed before leaves no version. A
    version with the same blessing is returned instead of a second one, and so is a champion with the same model.

    Args:
        config: the registry section.
        task: name of the task.
        checkpoint: a `save_pretrained` folder; of it, exactly the files that `model_digest` covers are stored.
        blessing: the gate's artifact.
        requests: what the model was asked when it was evaluated, with its answers; they are stored with it.
        run_key: key of the pipeline run; the work is logged as its step `register-<task>`.

    Returns:
        The version's number.

    Raises:
        UserError: the blessing is edited, a refusal, or one of another task or model.
    """
    verdict = _matching_blessing(task, checkpoint, blessing)
    if file_sha256(existing_file(requests, "the requests")) != verdict.requests_digest:
        raise UserError(f"the requests {requests} are not those of the blessing {blessing}; give the same evaluation's")
    parent = str(json.loads((checkpoint / "config.json").read_text()).get("pretrained_digest", ""))
    tracking = open_experiment(config)
    name = registered_name(config, task)
    with exclusive(config):
        version = _version_of(tracking, name, verdict)
    if version is None:
        with step_run(
            config,
            run_key,
            f"register-{task}",
            data_revision=verdict.data_revision,
            data_digest=verdict.data_digest,
            git_revision=verdict.code_revision,
        ) as run:
            model_id = _log_model(run, task, checkpoint, blessing, requests)
            with exclusive(config):
                version = _version_of(tracking, name, verdict)
                version = version or _create_version(run, name, model_id, verdict, run_key, parent)
    if aliases(tracking, name).get(CHAMPION) != version:
        tracking.client.set_registered_model_alias(name, CANDIDATE, version)
    return version


def registered_name(config: RegistryConfig, task: str) -> str:
    """The registered model of a task."""
    if task not in INPUTS:
        raise UserError(f"there is no task {task}; choose one of {', '.join(INPUTS)}")
    return f"{config.model_prefix}-{task}"


def aliases(tracking: Tracking, name: str) -> dict[str, str]:
    """Version by alias of a registered model; empty when there is no such model."""
    model = registered_model(tracking, name)
    return {alias: str(version) for alias, version in model.aliases.items()} if model else {}


def registered_model(tracking: Tracking, name: str) -> Any:
    """MLflow's entity; None when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return tracking.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _matching_blessing(task: str, checkpoint: Path, path: Path) -> Blessing:
    blessing = read_blessing(path)
    if not blessing.blessed:
        raise UserError(f"the gate refused this model ({'; '.join(blessing.reasons)}); it is not registered")
    if blessing.task != task:
        raise UserError(f"the blessing {path} is for task {blessing.task}, not {task}; give the one of this task")
    if blessing.model_digest != model_digest(checkpoint):
        raise UserError(f"the blessing {path} is for another model than {checkpoint}; evaluate this checkpoint first")
    return blessing


def _version_of(tracking: Tracking, name: str, blessing: Blessing) -> str | None:
    """The version registered with this very blessing, else the champion if its model is the same, else None."""
    query = f"name = '{name}' and tags.`{BLESSING_DIGEST_TAG}` = '{blessing.digest}'"
    versions = [int(found.version) for found in tracking.client.search_model_versions(query)]
    if versions:
        return str(min(versions))
    best = aliases(tracking, name).get(CHAMPION)
    same = best and tracking.client.get_model_version(name, best).tags.get(MODEL_DIGEST_TAG) == blessing.model_digest
    return best if same else None


def _log_model(run: StepRun, task: str, checkpoint: Path, blessing: Path, requests: Path) -> str:
    """Store the model with everything that loading it takes; its MLflow id.

    `mlflow.pyfunc.log_model` does so too, but also loads the model to try the example, and only warns if that fails.
    """
    client = run.tracking.client
    with tempfile.TemporaryDirectory(prefix="eve-register-") as folder:
        logged = client.create_logged_model(run.tracking.experiment_id, task, run.run_id, model_type="pyfunc")
        _save_pyfunc(Path(folder), logged.model_id, task, checkpoint, blessing, requests)
        client.log_model_artifacts(logged.model_id, f"{folder}/model")
        client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def _save_pyfunc(folder: Path, model_id: str, task: str, checkpoint: Path, blessing: Path, requests: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    import eve_core

    package = Path(eve_core.__file__).parent
    inputs = Schema([ColSpec(kind, name) for name, kind in INPUTS[task].items()])
    outputs = Schema([ColSpec(kind, name) for name, kind in OUTPUTS[task].items()])
    example = {name: _example_picture() if kind == IMAGE else "a red circle" for name, kind in INPUTS[task].items()}
    mlflow.pyfunc.save_model(
        folder / "model",
        mlflow_model=Model(model_id=model_id),
        python_model=str(package / "registry" / "serving.py"),
        artifacts=_staged(folder / "stage", checkpoint, blessing, requests),
        signature=ModelSignature(inputs, outputs),
        input_example=pd.DataFrame([example]),
        pip_requirements=_requirements(),
        code_paths=[str(package)],
    )


def _create_version(run: StepRun, name: str, model_id: str, blessing: Blessing, run_key: str, parent: str) -> str:
    from mlflow.exceptions import MlflowException

    client = run.tracking.client
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {
        TASK_TAG: blessing.task,
        MODEL_DIGEST_TAG: blessing.model_digest,
        BLESSING_DIGEST_TAG: blessing.digest,
        BASELINE_TAG: blessing.champion_version or "",
        METRICS_TAG: json.dumps(blessing.metrics),
        DATA_REVISION_TAG: blessing.data_revision,
        DATA_DIGEST_TAG: blessing.data_digest,
        GIT_REVISION_TAG: blessing.code_revision,
        PIPELINE_TAG: run_key,
        PARENT_TAG: parent,
    }
    created = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run.run_id,
        tags=tags,
        description=model_card(blessing)[:5000],  # as long as MLflow takes
        model_id=model_id,
    )
    return str(created.version)


def _staged(folder: Path, checkpoint: Path, blessing: Path, requests: Path) -> dict[str, str]:
    """The artifacts to store, under names of ours: only what the digest covers, whatever the folders are called."""
    stage = folder / "checkpoint"
    stage.mkdir(parents=True)
    for path in defining_files(checkpoint):
        try:
            os.link(path.resolve(), stage / path.name)
        except OSError:  # another file system
            shutil.copyfile(path, stage / path.name)
    shutil.copyfile(blessing, folder / "blessing.json")
    shutil.copyfile(requests, folder / "requests.parquet")
    (folder / "README.md").write_text(model_card(read_blessing(blessing)), encoding="utf-8")
    return {
        "checkpoint": str(stage),
        "blessing": str(folder / "blessing.json"),
        "requests": str(folder / "requests.parquet"),
        "card": str(folder / "README.md"),
    }


def _requirements() -> list[str]:
    """The installed versions, without a build's local label (+cpu), which package indexes do not have."""
    from importlib.metadata import version

    return [f"{package}=={version(package).split('+')[0]}" for package in _NEEDED_PACKAGES]


def _example_picture() -> bytes:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(picture).ellipse((8, 8, 24, 24), fill="red")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
