"""The versions of a task's registered model, and what each of them stores."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eve_core.config.run import RegistryConfig
from eve_core.errors import UserError
from eve_core.evaluation.blessing import Blessing, read_blessing
from eve_core.model_digest import model_digest
from eve_core.registry.models import (
    BLESSING_DIGEST_TAG,
    METRICS_TAG,
    MODEL_DIGEST_TAG,
    STORED_BLESSING,
    STORED_CHECKPOINT,
    registered_name,
)
from eve_core.registry.tracking import (
    DATA_DIGEST_TAG,
    DATA_REVISION_TAG,
    GIT_REVISION_TAG,
    PIPELINE_TAG,
    Tracking,
    open_experiment,
)


@dataclass(frozen=True)
class RegisteredVersion:
    """A version, with what eve registered it with."""

    task: str
    """Name of the task."""
    name: str
    """Name of the registered model."""
    version: str
    """Number of the version."""
    model_digest: str
    """Digest of its model."""
    metrics: Mapping[str, float | None]
    """Its metrics when it was blessed."""
    blessing_digest: str
    """Digest of its blessing."""
    data_revision: str
    """Git commit that pins its data."""
    data_digest: str
    """Digest of its data manifest."""
    git_revision: str
    """Git commit of the code that made it."""
    pipeline_run: str
    """Key of the pipeline run that made it."""

    @property
    def uri(self) -> str:
        """MLflow's address of it."""
        return f"models:/{self.name}/{self.version}"


def registered_version(config: RegistryConfig, task: str, version: str) -> RegisteredVersion:
    """A version of the task's registered model.

    Raises:
        UserError: there is no such version.
    """
    return version_of(open_experiment(config), task, registered_name(config, task), version)


def download_checkpoint(config: RegistryConfig, version: RegisteredVersion, folder: str) -> Path:
    """The version's checkpoint: the stored one itself when the store is local, else a download into `folder`.

    Raises:
        UserError: the stored files are gone.
    """
    return fetch(open_experiment(config), version, STORED_CHECKPOINT, folder)


def fetch(tracking: Tracking, version: RegisteredVersion, path: str, folder: str) -> Path:
    """What a version stores under `path`: in place when the store is local, else downloaded into `folder`.

    Raises:
        UserError: the stored files are gone.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        uri = tracking.client.get_model_version_download_uri(version.name, version.version)
        local = urlsplit(uri).scheme in ("", "file")
        return Path(download_artifacts(artifact_uri=f"{uri}/{path}", dst_path=None if local else folder))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{version.name} version {version.version}: its stored {path} cannot be read ({error}); register it again"
        ) from error


def stored_blessing(tracking: Tracking, version: RegisteredVersion) -> Blessing:
    """The blessing beside the version's model, after checking that version, blessing and model belong together.

    Raises:
        UserError: they do not.
    """
    what = f"{version.name} version {version.version}"
    with tempfile.TemporaryDirectory(prefix="eve-promote-") as folder:
        blessing = read_blessing(fetch(tracking, version, STORED_BLESSING, folder))
        stored_model = model_digest(fetch(tracking, version, STORED_CHECKPOINT, folder))
    if not blessing.blessed or blessing.task != version.task or blessing.digest != version.blessing_digest:
        raise UserError(f"{what} has not the blessing that it was registered with; register the model again")
    if not stored_model == blessing.model_digest == version.model_digest:
        raise UserError(f"{what} holds another model than its blessing is for; register the model again")
    return blessing


def version_of(tracking: Tracking, task: str, name: str, version: str) -> RegisteredVersion:
    """A version of the registered model `name`.

    Raises:
        UserError: there is no such version, or eve did not register it.
    """
    found = model_version(tracking, name, version)
    tags = found.tags
    missing = [tag for tag in (MODEL_DIGEST_TAG, BLESSING_DIGEST_TAG, METRICS_TAG) if tag not in tags]
    if missing:
        raise UserError(f"{name} version {version} was not registered by eve (no tag {missing[0]}); register the model")
    return RegisteredVersion(
        task=task,
        name=name,
        version=str(found.version),  # in its own words: 03 is 3
        model_digest=tags[MODEL_DIGEST_TAG],
        metrics=json.loads(tags[METRICS_TAG]),
        blessing_digest=tags[BLESSING_DIGEST_TAG],
        data_revision=tags.get(DATA_REVISION_TAG, ""),
        data_digest=tags.get(DATA_DIGEST_TAG, ""),
        git_revision=tags.get(GIT_REVISION_TAG, ""),
        pipeline_run=tags.get(PIPELINE_TAG, ""),
    )


def model_version(tracking: Tracking, name: str, version: str) -> Any:
    """MLflow's entity.

    Raises:
        UserError: there is no such version.
    """
    from mlflow.exceptions import MlflowException

    try:
        return tracking.client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"there is no version {version} of {name}; see `eve champion show`") from None
        raise
