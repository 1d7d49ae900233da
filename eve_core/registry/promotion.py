"""Which version of a task is champion, how it became so, and what a candidate has to beat.

State lives in MLflow alone: the log of promotions (`promotion_log.py`), and the aliases champion, previous_champion and
candidate, which follow from it. The log is written first, so that no promotion goes unrecorded, and of two at once one
wins; whoever looks next moves the aliases that a process was killed before it could.
"""

import contextlib
import getpass
import json
import tempfile
from collections.abc import Callable, Mapping
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
    registered_name,
)
from eve_core.registry.promotion_log import LogEntry, append, read
from eve_core.registry.serving_check import check_serving
from eve_core.registry.tracking import (
    DATA_DIGEST_TAG,
    DATA_REVISION_TAG,
    GIT_REVISION_TAG,
    PIPELINE_TAG,
    Tracking,
    exclusive,
    open_experiment,
)

_ATTEMPTS = 5
_LONGEST_REASON = 1000


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


def champion(config: RegistryConfig, task: str) -> ChampionVersion | None:
    """The task's champion; None when there is none."""
    tracking, name = open_experiment(config), registered_name(config, task)
    with exclusive(config):
        _settle(tracking, name)
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


def promote(
    config: RegistryConfig,
    *,
    task: str,
    version: str,
    reason: str,
    serving_check: Callable[[RegistryConfig, ChampionVersion, Blessing], object] = check_serving,
) -> Promotion:
    """Make a version champion and the champion previous_champion.

    Does nothing when this version, or another with the same model, is champion. A command that was interrupted is
    simply run again.

    Args:
        config: the registry section.
        task: name of the task.
        version: number of the version.
        reason: kept in the log.
        serving_check: raises UserError where the version does not serve as it did when it was evaluated.

    Raises:
        UserError: there is no such version, its stored model or blessing is not the one that it was registered with, it
            was compared with another version than today's champion, or it does not serve.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    candidate = _version(tracking, task, name, version)
    blessing = stored_blessing(tracking, candidate)

    def refuse(old: str | None, entries: list[LogEntry]) -> None:
        if blessing.champion_version != old:
            compared = f"champion {blessing.champion_version}" if blessing.champion_version else "no champion"
            today = f"champion {old}" if old else "no champion"
            back = "; if it is to return, use `eve rollback`" if _was_champion(candidate.version, entries) else ""
            raise UserError(
                f"{name} version {version} was compared with {compared} but there is {today} now; run its evaluation "
                f"again{back}"
            )

    return _change(config, tracking, candidate, blessing, "promotion", reason, refuse, serving_check)


def rollback(
    config: RegistryConfig,
    *,
    task: str,
    reason: str,
    to: str | None = None,
    force: bool = False,
    serving_check: Callable[[RegistryConfig, ChampionVersion, Blessing], object] = check_serving,
) -> Promotion:
    """Make a version champion that was champion before.

    Args:
        config: the registry section.
        task: name of the task.
        reason: kept in the log.
        to: number of the version; the champion before today's when None.
        force: whether it may be a version that never was champion.
        serving_check: see `promote`.

    Raises:
        UserError: there is nothing to go back to, the version never was champion, its stored model or blessing is not
            the one that it was registered with, or it does not serve.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    with exclusive(config):
        _settle(tracking, name)
    version = to or aliases(tracking, name).get(PREVIOUS_CHAMPION)
    if version is None:
        raise UserError(f"{name} has no champion before today's to go back to; name a version with --to")
    candidate = _version(tracking, task, name, version)
    blessing = stored_blessing(tracking, candidate)

    def refuse(old: str | None, entries: list[LogEntry]) -> None:
        if not force and not _was_champion(candidate.version, entries):
            raise UserError(
                f"{name} version {version} never was champion; roll back to one that was (`eve champion history`), or "
                "insist with --force"
            )

    return _change(config, tracking, candidate, blessing, "rollback", reason, refuse, serving_check)


def history(config: RegistryConfig, task: str) -> list[LogEntry]:
    """The promotion log of a task, oldest first.

    Raises:
        UserError: an entry was changed or is missing.
    """
    return read(open_experiment(config), registered_name(config, task))


def verify(config: RegistryConfig, task: str) -> list[str]:
    """Rebuild the champion from the promotion log; what contradicts it in the registry, in sentences.

    Raises:
        UserError: an entry of the log was changed or is missing.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    entries, now = read(tracking, name), aliases(tracking, name)
    said = []
    wanted = {CHAMPION: entries[-1].to_version, PREVIOUS_CHAMPION: entries[-1].from_version} if entries else {}
    for alias in (CHAMPION, PREVIOUS_CHAMPION):
        if now.get(alias) != wanted.get(alias):
            there, logged = now.get(alias) or "no version", wanted.get(alias) or "none"
            said.append(f"the alias {alias} of {name} is at {there}, but by the promotion log it is {logged}")
    numbers = {entry.to_version for entry in entries}
    blessings = {number: stored_blessing(tracking, _version(tracking, task, name, number)) for number in numbers}
    for entry in entries:
        if blessings[entry.to_version].digest != entry.blessing_digest:
            said.append(f"{name} version {entry.to_version} has another blessing than on {entry.at}")
    return said


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
    return fetch(open_experiment(config), version, STORED_CHECKPOINT)


def fetch(tracking: Tracking, version: ChampionVersion, path: str, folder: str | None = None) -> Path:
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


def stored_blessing(tracking: Tracking, version: ChampionVersion) -> Blessing:
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


def compare_with_champion(
    config: RegistryConfig, task: str, version: str | None
) -> tuple[ChampionVersion, ChampionVersion]:
    """The champion, and another version: the champion before when None.

    Raises:
        UserError: one of them does not exist.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    now = aliases(tracking, name)
    other = version or now.get(PREVIOUS_CHAMPION)
    if CHAMPION not in now or other is None:
        lacking = "champion" if CHAMPION not in now else "champion before today's; name another version"
        raise UserError(f"{name} has no {lacking}")
    return _version(tracking, task, name, now[CHAMPION]), _version(tracking, task, name, other)


def _change(
    config: RegistryConfig,
    tracking: Tracking,
    candidate: ChampionVersion,
    blessing: Blessing,
    kind: str,
    reason: str,
    refuse: Callable[[str | None, list[LogEntry]], None],
    serving_check: Callable[[RegistryConfig, ChampionVersion, Blessing], object],
) -> Promotion:
    """Log that `candidate` becomes champion, and move the aliases; look again when another process was quicker."""
    name, version = candidate.name, candidate.version
    if not reason.strip() or len(reason) > _LONGEST_REASON:
        raise UserError(f"the reason has {len(reason.strip())} letters; give one of 1 to {_LONGEST_REASON:,}")
    served = False
    for _ in range(_ATTEMPTS):
        with exclusive(config):
            _settle(tracking, name)
        entries, old = read(tracking, name), aliases(tracking, name).get(CHAMPION)
        if old == version or (
            old is not None and _version(tracking, candidate.task, name, old).model_digest == candidate.model_digest
        ):
            with exclusive(config):
                _drop_candidate(tracking, name, version)
            now = aliases(tracking, name)
            return Promotion(candidate.task, now[CHAMPION], now.get(PREVIOUS_CHAMPION), False)
        refuse(old, entries)
        if not served:  # it takes a while, and nothing moves for as long
            serving_check(config, candidate, blessing)
            served = True
            continue
        after = entries[-1].digest if entries else ""
        entry = LogEntry(kind, old, version, _now(), _user(), reason, blessing.digest, after)
        with exclusive(config):
            if append(tracking, name, _model_version(tracking, name, version), entry):
                _settle(tracking, name)
                _drop_candidate(tracking, name, version)
                now = aliases(tracking, name)
                return Promotion(candidate.task, now[CHAMPION], now.get(PREVIOUS_CHAMPION), True)
    raise UserError(f"other processes change the champion of {name} all the time; run this again when they are done")


def _settle(tracking: Tracking, name: str) -> None:
    """Move the aliases to where the log says, if its last entry has not done so yet.

    Again for as long as the log grows meanwhile: a slow process must not put back what a quicker one moved on.
    """
    entries = read(tracking, name)
    while entries:
        last, now = entries[-1], aliases(tracking, name)
        if now.get(CHAMPION) == last.to_version or now.get(CHAMPION) != last.from_version:
            # Done; or somebody moved it by hand, which `verify` tells.
            if now.get(CHAMPION) == last.to_version and now.get(PREVIOUS_CHAMPION) != last.from_version:
                _set_previous(tracking, name, last.from_version)
            return
        _set_previous(tracking, name, last.from_version)
        tracking.client.set_registered_model_alias(name, CHAMPION, last.to_version)
        known, entries = len(entries), read(tracking, name)
        if len(entries) == known:
            return


def _set_previous(tracking: Tracking, name: str, version: str | None) -> None:
    if version is not None:
        tracking.client.set_registered_model_alias(name, PREVIOUS_CHAMPION, version)


def _drop_candidate(tracking: Tracking, name: str, version: str) -> None:
    if aliases(tracking, name).get(CANDIDATE) == version:
        tracking.client.delete_registered_model_alias(name, CANDIDATE)


def _was_champion(version: str, entries: list[LogEntry]) -> bool:
    return any(version in (entry.from_version, entry.to_version) for entry in entries)


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # a tag may have no plus


def _user() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"
