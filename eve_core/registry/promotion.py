"""Which version of a task is champion, how it became so, and what a candidate has to beat.

State lives in MLflow alone: the aliases champion, previous_champion and candidate, and an append-only log of promotions
in tags of the registered model. A log entry is written before the aliases move, so that no promotion goes unrecorded;
`promote` finishes what an interrupted one began.
"""

import contextlib
import getpass
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eve_core.config.run import RegistryConfig
from eve_core.errors import UserError
from eve_core.evaluation.blessing import Blessing, read_blessing
from eve_core.model_digest import model_digest
from eve_core.registry.models import (
    BASELINE_TAG,
    BLESSING_DIGEST_TAG,
    CANDIDATE,
    CHAMPION,
    METRICS_TAG,
    MODEL_DIGEST_TAG,
    PREVIOUS_CHAMPION,
    STORED_BLESSING,
    STORED_CHECKPOINT,
    aliases,
    registered_model,
    registered_name,
)
from eve_core.registry.tracking import (
    DATA_DIGEST_TAG,
    DATA_REVISION_TAG,
    GIT_REVISION_TAG,
    PIPELINE_TAG,
    Tracking,
    exclusive,
    open_experiment,
)

_LOG_TAG = "eve.promotion."


@dataclass(frozen=True)
class ChampionVersion:
    """A registered version, as a champion or a baseline."""

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


@dataclass(frozen=True)
class Promotion:
    """The outcome of `promote`."""

    task: str
    """Name of the task."""
    champion: str
    """The version that is champion now."""
    previous: str | None
    """The version that was champion before it; None when there was none."""
    changed: bool
    """False when that model was champion already."""


@dataclass(frozen=True)
class LogEntry:
    """One line of the promotion log. Two lines that leave the same version tell that the first was interrupted."""

    from_version: str | None
    """The champion until then."""
    to_version: str
    """The champion from then on."""
    at: str
    """Time, UTC, ISO 8601."""
    by: str
    """User name of the process."""
    reason: str
    """Why, in the words given to `promote`."""
    blessing_digest: str
    """Digest of the promoted version's blessing."""


def champion(config: RegistryConfig, task: str) -> ChampionVersion | None:
    """The task's champion; None when there is none."""
    tracking, name = open_experiment(config), registered_name(config, task)
    version = aliases(tracking, name).get(CHAMPION)
    return _version(tracking, task, name, version) if version else None


def baseline_for(config: RegistryConfig, task: str, candidate_digest: str) -> ChampionVersion | None:
    """The version that a candidate has to beat; None when there is none.

    It is the champion. When the champion is this very candidate, so that a run is repeated, it is the version that the
    champion was compared with, so that the repeated run comes to the same verdict.
    """
    best = champion(config, task)
    if best is None or best.model_digest != candidate_digest:
        return best
    tracking = open_experiment(config)
    baseline = _model_version(tracking, best.name, best.version).tags.get(BASELINE_TAG)
    return _version(tracking, task, best.name, baseline) if baseline else None


def promote(config: RegistryConfig, *, task: str, version: str, reason: str) -> Promotion:
    """Make a version champion and the champion previous_champion.

    Does nothing when this version, or another with the same model, is champion. A version that was champion before may
    return whatever it was compared with: that is a roll-back.

    Args:
        config: the registry section.
        task: name of the task.
        version: number of the version.
        reason: kept in the log.

    Raises:
        UserError: there is no such version, its stored model or blessing is not the one that it was registered with, or
            it was compared with another version than today's champion.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    client = tracking.client
    candidate = _version(tracking, task, name, version)
    blessing = _stored_blessing(tracking, candidate)
    with exclusive(config):
        now = aliases(tracking, name)
        old = now.get(CHAMPION)
        changed = old is None or (
            old != version and _version(tracking, task, name, old).model_digest != candidate.model_digest
        )
        if changed:
            entries = _log(tracking, name)
            _refuse_stale(candidate, blessing, old, entries)
            if not entries or (entries[-1].from_version, entries[-1].to_version) != (old, version):
                _append(tracking, name, LogEntry(old, version, _now(), _user(), reason, blessing.digest))
            if old is not None:
                client.set_registered_model_alias(name, PREVIOUS_CHAMPION, old)
            client.set_registered_model_alias(name, CHAMPION, version)
        if now.get(CANDIDATE) == version:
            client.delete_registered_model_alias(name, CANDIDATE)
        after = aliases(tracking, name)
    return Promotion(task, after[CHAMPION], after.get(PREVIOUS_CHAMPION), changed)


def history(config: RegistryConfig, task: str) -> list[LogEntry]:
    """The promotion log of a task, oldest first."""
    return _log(open_experiment(config), registered_name(config, task))


def registered_version(config: RegistryConfig, task: str, version: str) -> ChampionVersion:
    """A version of the task's registered model.

    Raises:
        UserError: there is no such version.
    """
    return _version(open_experiment(config), task, registered_name(config, task), version)


def download_checkpoint(config: RegistryConfig, version: ChampionVersion) -> Path:
    """A local folder with the version's checkpoint: the stored one itself when the store is local, else a download.

    Raises:
        UserError: the stored files are gone.
    """
    return _fetch(open_experiment(config), version, STORED_CHECKPOINT)


def _refuse_stale(candidate: ChampionVersion, blessing: Blessing, old: str | None, entries: list[LogEntry]) -> None:
    returns = any(entry.from_version == candidate.version for entry in entries)
    if blessing.champion_version != old and not returns:
        compared = f"champion {blessing.champion_version}" if blessing.champion_version else "no champion"
        today = f"champion {old}" if old else "no champion"
        raise UserError(
            f"{candidate.name} version {candidate.version} was compared with {compared} but there is {today} now; "
            "run its evaluation again"
        )


def _stored_blessing(tracking: Tracking, version: ChampionVersion) -> Blessing:
    """The blessing beside the version's model, after checking that version, blessing and model belong together."""
    what = f"{version.name} version {version.version}"
    with tempfile.TemporaryDirectory(prefix="eve-promote-") as folder:
        blessing = read_blessing(_fetch(tracking, version, STORED_BLESSING, folder))
        stored_model = model_digest(_fetch(tracking, version, STORED_CHECKPOINT, folder))
    if not blessing.blessed or blessing.task != version.task or blessing.digest != version.blessing_digest:
        raise UserError(f"{what} has not the blessing that it was registered with; register the model again")
    if not stored_model == blessing.model_digest == version.model_digest:
        raise UserError(f"{what} holds another model than its blessing is for; register the model again")
    return blessing


def _version(tracking: Tracking, task: str, name: str, version: str) -> ChampionVersion:
    tags = _model_version(tracking, name, version).tags
    missing = [tag for tag in (MODEL_DIGEST_TAG, BLESSING_DIGEST_TAG, METRICS_TAG) if tag not in tags]
    if missing:
        raise UserError(f"{name} version {version} was not registered by eve (no tag {missing[0]}); register the model")
    return ChampionVersion(
        task=task,
        name=name,
        version=str(version),
        model_digest=tags[MODEL_DIGEST_TAG],
        metrics=json.loads(tags[METRICS_TAG]),
        blessing_digest=tags[BLESSING_DIGEST_TAG],
        data_revision=tags.get(DATA_REVISION_TAG, ""),
        data_digest=tags.get(DATA_DIGEST_TAG, ""),
        git_revision=tags.get(GIT_REVISION_TAG, ""),
        pipeline_run=tags.get(PIPELINE_TAG, ""),
    )


def _model_version(tracking: Tracking, name: str, version: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return tracking.client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"there is no version {version} of {name}; see `eve champion show`") from None
        raise


def _fetch(tracking: Tracking, version: ChampionVersion, path: str, folder: str | None = None) -> Path:
    """What a version stores under `path`: in place when the store is local, else downloaded into `folder`."""
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


def _log(tracking: Tracking, name: str) -> list[LogEntry]:
    model = registered_model(tracking, name)
    tags = model.tags if model else {}
    return [LogEntry(**json.loads(tags[tag])) for tag in sorted(tags) if tag.startswith(_LOG_TAG)]


def _append(tracking: Tracking, name: str, entry: LogEntry) -> None:
    # The time as key: entries of two processes cannot overwrite each other, as a counter's would on a server.
    tracking.client.set_registered_model_tag(name, _LOG_TAG + entry.at, json.dumps(vars(entry)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # a tag may have no plus


def _user() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"
