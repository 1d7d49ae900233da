"""Data as a place and a digest: what the steps of a run pass on, instead of copies of hundreds of gigabytes."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from eve_core.config import DataConfig
from eve_core.data.manifest import MANIFEST_NAME
from eve_core.data.prepared import PreparedData
from eve_core.data.versioning.fetching import fetch
from eve_core.data.versioning.revision import resolve_revision
from eve_core.errors import UserError
from eve_core.whole_file import write_whole

_LOCATION = "location.json"


def fetch_to_workspace(config: DataConfig, workspace: Path, note: Path) -> PreparedData:
    """Bring a data revision to its place in the workspace, unless it is there.

    Args:
        config: the data section, with a commit as its revision.
        workspace: all revisions that runs read are below its folder `data`, by content.
        note: folder to write the place and the digest into.

    Raises:
        UserError: see `resolve_revision` and `fetch`.
    """
    revision = resolve_revision(config)
    folder = workspace.absolute() / "data" / revision.dvc_md5.removesuffix(".dir")
    with _alone(folder):
        data = PreparedData.open(fetch(revision, folder, config.remote))
    note_location(data, config, note)
    return data


def note_location(data: PreparedData, config: DataConfig, note: Path) -> None:
    """Write down where data is, for `open_noted`.

    Args:
        data: it.
        config: what brings it again, with a commit as its revision.
        note: folder to write into.
    """
    fields = {"repository", "path", "revision", "remote"}
    location = {"folder": str(data.path), "digest": data.digest, "data": config.model_dump(mode="json", include=fields)}
    write_whole(json.dumps(location, indent=1) + "\n", note / _LOCATION, "where the data is")


def open_noted(note: Path | str, quarantine: Path | str | None = None) -> PreparedData:
    """Open the data that `fetch_to_workspace` noted; it is brought again where it was removed since.

    Args:
        note: the folder of the note.
        quarantine: see `PreparedData.open`.

    Raises:
        UserError: there is no note, the data there is another, or it is gone and cannot be brought again.
    """
    try:
        location = json.loads((Path(note) / _LOCATION).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{note} does not say where the data is; run the step fetch-data again") from None
    folder = Path(location["folder"])
    if not (folder / MANIFEST_NAME).is_file():
        config = DataConfig.model_validate(location["data"])
        with _alone(folder):
            fetch(resolve_revision(config), folder, config.remote)
    data = PreparedData.open(folder, quarantine=quarantine)
    if data.digest != location["digest"]:
        raise UserError(
            f"{folder} holds data of digest {data.digest[:12]}, and the run reads {location['digest'][:12]}; remove "
            "the folder and start the run again"
        )
    return data


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let other processes that bring the same wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
