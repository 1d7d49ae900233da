"""Which version of a task is champion, how it became so, and what a candidate has to beat.

State lives in MLflow alone: the log of promotions (`promotion_log.py`), and the aliases champion, previous_champion and
candidate, which follow from it. The log is written first, so that no promotion goes unrecorded, and of two at once one
wins; whoever looks next moves the aliases that a process was killed before it could.
"""

import contextlib
import getpass
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from eve_core.config.run import RegistryConfig
from eve_core.errors import UserError
from eve_core.evaluation.blessing import Blessing
from eve_core.registry.models import (
    BASELINE_TAG,
    CANDIDATE,
    CHAMPION,
    PREVIOUS_CHAMPION,
    aliases,
    registered_name,
)
from eve_core.registry.promotion_log import LogEntry, append, read
from eve_core.registry.serving_check import check_serving
from eve_core.registry.tracking import Tracking, exclusive, open_experiment
from eve_core.registry.versions import RegisteredVersion, model_version, stored_blessing, version_of

_ATTEMPTS = 5
_LONGEST_REASON = 1000


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


def champion(config: RegistryConfig, task: str) -> RegisteredVersion | None:
    """The task's champion; None when there is none.

    Raises:
        UserError: it was deleted.
    """
    tracking, name = open_experiment(config), registered_name(config, task)
    version = _settled_aliases(config, tracking, name).get(CHAMPION)
    if version is None:
        _refuse_deleted(name, read(tracking, name))
        return None
    return version_of(tracking, task, name, version)


def baseline_for(config: RegistryConfig, task: str, candidate_digest: str) -> RegisteredVersion | None:
    """The version that a candidate has to beat; None when there is none.

    It is the champion. When the champion is this very candidate, so that a run is repeated, it is the version that the
    champion was compared with, so that the repeated run comes to the same verdict.
    """
    best = champion(config, task)
    if best is None or best.model_digest != candidate_digest:
        return best
    tracking = open_experiment(config)
    baseline = model_version(tracking, best.name, best.version).tags.get(BASELINE_TAG)
    return version_of(tracking, task, best.name, baseline) if baseline else None


def promote(
    config: RegistryConfig,
    *,
    task: str,
    version: str,
    reason: str,
    serving_check: Callable[[RegistryConfig, RegisteredVersion, Blessing], object] = check_serving,
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
    candidate = version_of(tracking, task, name, version)
    blessing = stored_blessing(tracking, candidate)

    def refuse(old: str | None, entries: list[LogEntry]) -> None:
        if old is None:
            _refuse_deleted(name, entries)
        left = next((entry for entry in reversed(entries) if entry.from_version == candidate.version), None)
        if left is not None and left.kind == "rollback":
            raise UserError(
                f"{name} version {candidate.version} was rolled back at {left.at} ({left.reason}); if it is to return, "
                f"use `eve rollback --to {candidate.version}`"
            )
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
    serving_check: Callable[[RegistryConfig, RegisteredVersion, Blessing], object] = check_serving,
) -> Promotion:
    """Make a version champion that was champion before.

    Without `to` a rollback that follows a rollback is the same one run again, and does nothing.

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
    before, entries = _settled_aliases(config, tracking, name).get(PREVIOUS_CHAMPION), read(tracking, name)
    version = to or (entries[-1].to_version if entries and entries[-1].kind == "rollback" else before)
    if version is None:
        raise UserError(f"{name} has no champion before today's to go back to; name a version with --to")
    candidate = version_of(tracking, task, name, version)
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
    for before, entry in pairwise(entries):
        if entry.from_version != before.to_version:
            old = f"version {entry.from_version}" if entry.from_version else "no champion"
            said.append(
                f"the {entry.kind} to {name} version {entry.to_version} at {entry.at} began at {old}, but version "
                f"{before.to_version} was champion by the promotion log: the alias was moved or deleted by hand"
            )
    for number in sorted({entry.to_version for entry in entries}, key=int):
        try:
            digest = stored_blessing(tracking, version_of(tracking, task, name, number)).digest
        except UserError as error:
            said.append(str(error))
            continue
        others = [entry for entry in entries if entry.to_version == number and entry.blessing_digest != digest]
        said += [f"{name} version {number} has another blessing than on {entry.at}" for entry in others]
    return said


def compare_with_champion(
    config: RegistryConfig, task: str, version: str | None
) -> tuple[RegisteredVersion, RegisteredVersion]:
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
    return version_of(tracking, task, name, now[CHAMPION]), version_of(tracking, task, name, other)


def _change(
    config: RegistryConfig,
    tracking: Tracking,
    candidate: RegisteredVersion,
    blessing: Blessing,
    kind: str,
    reason: str,
    refuse: Callable[[str | None, list[LogEntry]], None],
    serving_check: Callable[[RegistryConfig, RegisteredVersion, Blessing], object],
) -> Promotion:
    """Log that `candidate` becomes champion, and move the aliases; look again when another process was quicker."""
    name, version = candidate.name, candidate.version
    if not reason.strip() or len(reason) > _LONGEST_REASON:
        raise UserError(f"the reason has {len(reason.strip())} letters; give one of 1 to {_LONGEST_REASON:,}")
    served = False
    for _ in range(_ATTEMPTS):
        entries = read(tracking, name)  # before the aliases: an entry that comes between makes ours void
        old = _settled_aliases(config, tracking, name).get(CHAMPION)  # none too where it was deleted
        if old == version or (
            old is not None and version_of(tracking, candidate.task, name, old).model_digest == candidate.model_digest
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
        left = entries[-1].to_version if old is None and entries else old
        entry = LogEntry(kind, left, version, _now(), _user(), reason, blessing.digest, after)
        with exclusive(config):
            if append(tracking, name, model_version(tracking, name, version), entry):
                _settle(tracking, name)
                _drop_candidate(tracking, name, version)
                now = aliases(tracking, name)
                return Promotion(candidate.task, now[CHAMPION], now.get(PREVIOUS_CHAMPION), True)
    raise UserError(f"other processes change the champion of {name} all the time; run this again when they are done")


def _settled_aliases(config: RegistryConfig, tracking: Tracking, name: str) -> dict[str, str]:
    """Version by alias, after an interrupted change was brought to its end."""
    with exclusive(config):
        _settle(tracking, name)
    return aliases(tracking, name)


def _settle(tracking: Tracking, name: str) -> None:
    """Move the aliases to where the log says, if its last entry has not done so yet.

    Again for as long as the log grows meanwhile: a slow process must not put back what a quicker one moved on.
    """
    known, entries = 0, read(tracking, name)
    while len(entries) > known:
        last, now = entries[-1], aliases(tracking, name)
        if now.get(CHAMPION) not in (None, last.from_version, last.to_version):
            return  # somebody moved it by hand, which `verify` tells
        if last.from_version is not None and now.get(PREVIOUS_CHAMPION) != last.from_version:
            _move(tracking, name, PREVIOUS_CHAMPION, last.from_version)
        if now.get(CHAMPION) == last.to_version:
            return
        _move(tracking, name, CHAMPION, last.to_version)
        known, entries = len(entries), read(tracking, name)


def _move(tracking: Tracking, name: str, alias: str, version: str) -> None:
    """Unless the version was deleted, and its aliases with it.

    Of two processes that set an alias for the first time at once, MLflow's database turns one away: it is set then.
    """
    from mlflow.exceptions import MlflowException

    try:
        tracking.client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST" and aliases(tracking, name).get(alias) != version:
            raise


def _refuse_deleted(name: str, entries: list[LogEntry]) -> None:
    """There is no champion, but by the log there is."""
    if entries:
        raise UserError(
            f"{name} version {entries[-1].to_version}, which is champion by the promotion log, was deleted; make "
            "another one champion with `eve rollback --to VERSION` (see `eve champion history`)"
        )


def _drop_candidate(tracking: Tracking, name: str, version: str) -> None:
    if aliases(tracking, name).get(CANDIDATE) == version:
        tracking.client.delete_registered_model_alias(name, CANDIDATE)


def _was_champion(version: str, entries: list[LogEntry]) -> bool:
    return any(version in (entry.from_version, entry.to_version) for entry in entries)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # a tag may have no plus


def _user() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"
