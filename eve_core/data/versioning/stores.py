"""Where the bytes of data revisions are, by their md5: the data repository's DVC cache, and a remote.

DVC's Python interface is used, which sends no analytics and looks for no update; only its command line does.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from eve_core.config.data import RemoteConfig
from eve_core.data.versioning.git import is_url
from eve_core.data.versioning.network import fail_at_once, patiently
from eve_core.data.versioning.refusals import explained
from eve_core.data.versioning.revision import DataRevision
from eve_core.errors import UserError
from eve_core.progress import Progress

FILES_AT_ONCE = 8
"""Transfers side by side; what is cut off in the middle of a file begins again with that file."""


class Stores:
    """The cache and the remote of a data repository, as DVC's object databases.

    Attributes:
        repo: DVC's repository.
        cache: its cache.
    """

    def __init__(self, repo: Any) -> None:
        self.repo = repo
        self.cache = repo.cache.local
        name, known = repo.config["core"].get("remote"), repo.config["remote"]
        if name and name.lower() not in known:
            raise UserError(
                f"the data repository has no remote {name!r} ({', '.join(known) or 'and no other'}); set data.remote "
                "to a name in its .dvc/config, or to a url"
            )

    @cached_property
    def remote(self) -> Any:
        """The remote.

        Raises:
            dvc.config.NoRemoteError: there is none.
        """
        remote = self.repo.cloud.get_remote_odb(command="push")
        fail_at_once(remote.fs)
        return remote

    @property
    def remote_url(self) -> str:
        """Where the remote is."""
        config = self.repo.config
        return str(config["remote"][config["core"]["remote"].lower()]["url"])

    def files(self, revision: DataRevision) -> dict[str, str]:
        """The md5 of every file of a revision, by its path in the prepared folder.

        Raises:
            UserError: neither the cache nor the remote has that list.
        """
        return {"/".join(key): str(md5.value) for key, _, md5 in self.listing(revision)}

    def listing(self, revision: DataRevision) -> Any:
        """The same as DVC's tree."""
        from dvc.config import NoRemoteError
        from dvc_objects.errors import ObjectFormatError

        try:
            return _listing(self.cache, revision)
        except (FileNotFoundError, ObjectFormatError):
            pass
        try:
            return patiently(lambda: _listing(self.remote, revision))
        except (FileNotFoundError, NoRemoteError):
            raise missing_content(revision) from None
        except ObjectFormatError as error:
            raise damaged_content(revision, f"on {self.remote_url} {error}") from None


@contextmanager
def open_stores(
    repository: str | Path, remote: RemoteConfig | None, doing: str, commit: str | None = None
) -> Iterator[Stores]:
    """The stores of a data repository, as the settings in its working folder have them.

    Args:
        repository: path or URL.
        remote: the remote; the repository's default when None.
        doing: how a refusal in the body begins.
        commit: whose settings count when `repository` is a URL.

    Raises:
        UserError: the repository is not set up for DVC or has no such remote, or something in the body is refused.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.repo.open_repo import clean_repos

    with explained(doing), quiet():
        if not is_url(str(repository)):
            # Not by `Repo.open`, which takes the cache for the remote where there is none.
            try:
                repo = Repo(str(repository), **_settings(remote))
            except NotDvcRepoError:
                raise UserError(f"{repository} is not set up for DVC; run `dvc init` there and add a remote") from None
            with repo:
                yield Stores(repo)
            return
        try:
            with Repo.open(str(repository), rev=commit, **_settings(remote)) as repo:
                yield Stores(repo)
        finally:
            clean_repos()  # the clone


def staged(repo: Any, folder: Path) -> tuple[Any, Any]:
    """A folder as DVC would store it: a store that refers to its files and copies none, and their listing."""
    from dvc.fs import localfs
    from dvc_data.hashfile.build import build

    store, _, listing = build(repo.cache.local, str(folder.resolve()), localfs, "md5")
    return store, listing


def md5_of(repo: Any, folder: Path) -> str:
    """What DVC would pin for a folder."""
    return str(staged(repo, folder)[1].hash_info.value)


def held(store: Any, md5s: set[str]) -> set[str]:
    """Those of `md5s` that a store has."""
    return set(store.oids_exist(md5s)) if md5s else set()


def lacking(store: Any, listing: Any) -> set[str]:
    """The md5s of a folder's files, and of their listing, that a store has not."""
    wanted = {str(md5.value) for _, _, md5 in listing} | {str(listing.hash_info.value)}
    return patiently(lambda: wanted - held(store, wanted))


def send(doing: str, source: Any, target: Any, listing: Any) -> int:
    """Copy what a target lacks of a folder; the number of files it lacked.

    The listing goes last: where it is, DVC takes the files to be.

    Args:
        doing: what the progress bar says.
        source: the store that has all of it.
        target: the store to complete.
        listing: DVC's tree of the folder.
    """
    absent = lacking(target, listing)
    if not absent:
        return 0
    last = {str(listing.hash_info.value)} & absent
    with Progress(doing, total=len(absent), unit="file") as progress:

        def attempt() -> None:
            here = held(target, absent)
            for some in (absent - last - here, last - here):
                objects = [source.get(md5) for md5 in sorted(some)]
                if objects:
                    target.add(
                        [found.path for found in objects],
                        objects[0].fs,
                        [found.oid for found in objects],
                        check_exists=False,
                        batch_size=FILES_AT_ONCE,
                        callback=count_files(progress, len(here)),
                    )
                here |= some
            progress.update_to(len(absent))

        patiently(attempt)
    return len(absent)


def count_files(progress: Progress, before: int) -> Any:
    """A callback of fsspec that moves a bar by the files done, after `before` earlier ones."""
    from dvc.fs.callbacks import Callback

    class Files(Callback):
        def call(self, *args: Any, **kwargs: Any) -> None:
            progress.update_to(before + self.value)

    return Files()


def missing_content(revision: DataRevision) -> UserError:
    """What to say when neither store has something of a revision."""
    return UserError(
        f"the content of {revision.path}.dvc at commit {revision.commit[:12]} (md5 {revision.dvc_md5}) is neither in "
        f"the DVC cache of {revision.repository} nor on its remote; where the data is, run `eve data push --config "
        "...`, or make it again with `eve data prepare --config ...`"
    )


def damaged_content(revision: DataRevision, problem: str) -> UserError:
    """What to say when a store has something else than it says."""
    return UserError(
        f"what the stores of {revision.repository} hold of {revision.path}.dvc at commit {revision.commit[:12]} is "
        f"damaged: {problem}; remove it there, and push the data again from where it is whole"
    )


def _listing(store: Any, revision: DataRevision) -> Any:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    listing = Tree.load(store, HashInfo("md5", revision.dvc_md5))
    # DVC does not look; the paths in it are where files will be written.
    if f"{hashlib.md5(listing.as_bytes()).hexdigest()}.dir" != revision.dvc_md5:
        raise ObjectFormatError("the list of its files is not the one that was pinned")
    return listing


def _settings(remote: RemoteConfig | None) -> dict[str, Any]:
    if remote is None or remote.name is not None:
        return {"remote": remote and remote.name}
    url = str(remote.url)
    settings = {"url": url if "://" in url else str(Path(url).absolute()), "endpointurl": remote.endpoint}
    return {"remote": "configured", "remote_config": {key: value for key, value in settings.items() if value}}


@contextmanager
def quiet() -> Iterator[None]:
    """Do the body without DVC's advice to run git commands, which are run here."""
    import dvc  # noqa: F401  (importing it sets the level)

    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
