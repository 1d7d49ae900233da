"""Bringing a revision of the data into a folder."""

import shutil
from pathlib import Path

from eve_core.config.data import RemoteConfig
from eve_core.data.manifest import MANIFEST_NAME
from eve_core.data.prepared import PreparedData
from eve_core.data.staging import staged_folder
from eve_core.data.versioning.network import patiently
from eve_core.data.versioning.revision import DataRevision
from eve_core.data.versioning.stores import (
    FILES_AT_ONCE,
    Stores,
    count_files,
    damaged_content,
    held,
    md5_of,
    missing_content,
    open_stores,
)
from eve_core.errors import UserError
from eve_core.progress import Progress

_UNFINISHED = ".progress"


def fetch(revision: DataRevision, destination: Path, remote: RemoteConfig | None = None) -> Path:
    """Bring the folder of `revision` from DVC's cache, or from the remote, to `destination`.

    `destination` is complete or absent at any time. One that already holds the revision is left as it is. What an
    interrupted call has brought is kept beside it, and the next call goes on there.

    Args:
        revision: from `resolve_revision`.
        destination: becomes the prepared folder; prepared data of another revision in it is replaced.
        remote: the DVC remote; the repository's default when None.

    Returns:
        `destination`.

    Raises:
        UserError: neither the cache nor the remote has the content, or what they have is damaged; the remote does not
            answer or refuses access; the disk is full; `destination` holds something that is no prepared data.
    """
    destination = Path(destination)
    with open_stores(revision.repository, remote, f"fetching {revision}", revision.commit) as stores:
        if (destination / MANIFEST_NAME).is_file() and md5_of(stores.repo, destination) == revision.dvc_md5:
            return destination
        files = stores.files(revision)
        with staged_folder(destination, MANIFEST_NAME, resume=revision.dvc_md5, progress=_UNFINISHED) as folder:
            _bring(revision, stores, {folder / path: md5 for path, md5 in files.items()}, folder)
            shutil.rmtree(folder / _UNFINISHED)
            try:
                PreparedData.open(folder, verify=True)
            except UserError as error:
                raise damaged_content(revision, str(error)) from error
    return destination


def _bring(revision: DataRevision, stores: Stores, files: dict[Path, str], folder: Path) -> None:
    """Complete `files` (md5 by path) in `folder` from the cache and, for what it lacks, from the remote."""
    from dvc.config import NoRemoteError
    from dvc.fs import localfs
    from dvc_objects.fs.generic import copy

    with Progress("fetching data", total=len(files), unit="file") as progress:

        def attempt() -> None:
            _remove_torn(folder, files)
            for store in ("cache", "remote"):
                absent = {path: md5 for path, md5 in files.items() if not path.is_file()}
                if not absent:
                    break
                source = getattr(stores, store)
                here = held(source, {*absent.values()})
                if store == "remote" and len(here) < len({*absent.values()}):
                    raise missing_content(revision)
                found = [path for path, md5 in absent.items() if md5 in here]
                if not found:
                    continue
                (folder / _UNFINISHED / "files.journal").write_text("from now on, what is here is worth keeping\n")
                copy(
                    source.fs,
                    [source.oid_to_path(files[path]) for path in found],
                    localfs,
                    [str(path) for path in found],
                    callback=count_files(progress, len(files) - len(absent)),
                    batch_size=FILES_AT_ONCE,
                )
            progress.update_to(len(files))

        try:
            patiently(attempt)
        except NoRemoteError:
            raise missing_content(revision) from None


def _remove_torn(folder: Path, files: dict[Path, str]) -> None:
    """Remove what a killed process was in the middle of; under their own names files are complete."""
    for file in folder.rglob("*"):
        if file.is_file() and file not in files and file.parent.name != _UNFINISHED:
            file.unlink()
