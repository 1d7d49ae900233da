"""Versions of a prepared folder: Git pins it by hash in `<path>.dvc`, DVC keeps the bytes in a cache and a remote.

A run resolves its configured revision to a commit once (`resolve_revision`) and from then on fetches exactly that
(`fetch`); `eve data prepare` makes a new one known (`publish`). The working folder of the repository is never read.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from eve_core.config import DataConfig
from eve_core.data.manifest import MANIFEST_NAME
from eve_core.data.prepared import PreparedData
from eve_core.data.staging import staged_folder
from eve_core.errors import UserError, explain_os_error
from eve_core.progress import Progress

_DEFAULT_REMOTE = ".dvc-remote"
# The url is relative to this file, .dvc/config, so that the repository can be moved.
_CONFIG = f"""[core]
    analytics = false
    check_update = false
    remote = local
['remote "local"']
    url = ../{_DEFAULT_REMOTE}
"""


@dataclass(frozen=True)
class DataRevision:
    """One version of a prepared folder; it never changes."""

    repository: str
    """The Git repository: an absolute path, or a URL."""
    path: str
    """The prepared folder in it."""
    commit: str
    """40 hexadecimal digits."""
    dvc_md5: str
    """What <path>.dvc says at that commit ("5d798c28bfa917e4a57b79ea8ba19609.dir")."""


def resolve_revision(config: DataConfig) -> DataRevision:
    """The immutable version that `config.revision` (a commit, tag or branch) stands for now.

    Its commit is the one that pinned the data: later commits that leave <path>.dvc as it is are the same revision.

    Raises:
        UserError: the repository is no Git repository, or cannot be reached; it has no such revision; <path>.dvc is
            not in that revision.
    """
    if not _is_url(config.repository):
        return _resolve(_top_of_repository(config.repository), config)
    with tempfile.TemporaryDirectory(prefix="eve-revision-") as folder:
        cloned = _git(["clone", "--bare", "--quiet", "--", config.repository, folder], check=False)
        if cloned.returncode:
            raise UserError(f"data.repository {config.repository} cannot be read: {_last_line(cloned.stderr)}")
        return _resolve(Path(folder), config)


def fetch(revision: DataRevision, destination: Path, remote: str | None = None) -> Path:
    """Bring the folder of `revision` from DVC's cache, or from the remote, to `destination`.

    `destination` is complete or absent at any time. One that already holds the revision is left as it is.

    Args:
        revision: from `resolve_revision`.
        destination: becomes the prepared folder; prepared data of another revision in it is replaced.
        remote: name of the DVC remote; the repository's default when None.

    Returns:
        `destination`.

    Raises:
        UserError: neither the cache nor the remote has the content, or what they have is damaged; `destination` holds
            something that is no prepared data.
    """
    from dvc.api import DVCFileSystem
    from dvc_data.index.index import DataIndexDirError

    destination = Path(destination)
    with _explained(f"fetching data revision {revision.commit[:12]} of {revision.repository}"):
        source = DVCFileSystem(revision.repository, rev=revision.commit, remote=remote)
        if (destination / MANIFEST_NAME).is_file() and _hash_of(source.repo, destination) == revision.dvc_md5:
            return destination
        with staged_folder(destination, MANIFEST_NAME) as folder:
            content = f"/{revision.path}/"  # with a slash at its end: the content goes into `folder`, not below it
            try:
                files = source.find(content)
                with Progress("fetching data", total=len(files), unit="file") as progress:
                    source.get(content, str(folder), recursive=True, callback=_callback(progress))
            except (FileNotFoundError, DataIndexDirError) as error:
                raise _missing_content(revision, remote) from error
            PreparedData.open(folder, verify=True)
    return destination


def publish(config: DataConfig, prepared: Path) -> str:
    """Store a prepared folder in DVC's cache, push it to the remote, and pin it in Git where the config allows that.

    With `config.commit` the folder becomes <repository>/<path> and <path>.dvc is committed; repository, DVC and a
    remote inside it are set up when missing. Without it, the committed <path>.dvc must already pin the very same
    content, and nothing in the repository changes.

    Args:
        config: the repository and the path in it.
        prepared: the prepared folder, anywhere.

    Returns:
        The commit that pins the content; the newest one when it was pinned before.

    Raises:
        UserError: the content is not what <path>.dvc pins and `config.commit` is false, or Git or DVC refuse.
    """
    if _is_url(config.repository):
        raise UserError(
            f"data.repository {config.repository} is a URL, and data is published from a local clone; "
            "clone it and set data.repository to the clone's path"
        )
    prepared = Path(prepared).resolve()
    PreparedData.open(prepared)
    return _publish_and_commit(config, prepared) if config.commit else _publish_pinned(config, prepared)


# Resolving.


def _resolve(git_folder: Path, config: DataConfig) -> DataRevision:
    path, name = _path_in_repository(config.path), config.repository
    commit = _git(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{config.revision}^{{commit}}"],
        git_folder,
        check=False,
    ).stdout.strip()
    if not commit:
        raise UserError(
            f"data.revision {config.revision!r} is no commit, tag or branch of {name}; "
            f"`git -C {name} log --oneline --all -- {path}.dvc` lists the data's revisions"
        )
    pin = _git(["show", f"{commit}:{path}.dvc"], git_folder, check=False)
    if pin.returncode:
        raise UserError(
            f"{path}.dvc is not in revision {config.revision} of {name}, so no data is pinned there; publish the data "
            "with `eve data prepare` (data.commit: true), or choose another data.revision or data.path"
        )
    # The commit that last changed the pin or where it is stored: other commits do not make a new data revision.
    commit = (
        _git(["log", "-1", "--format=%H", commit, "--", f"{path}.dvc", ".dvc/config"], git_folder).stdout.strip()
        or commit
    )
    repository = name if _is_url(name) else str(git_folder)
    return DataRevision(repository, path, commit, _pinned_hash(pin.stdout, f"{path}.dvc in revision {commit[:12]}"))


def _pinned_hash(pin: str, where: str) -> str:
    try:
        (output,) = yaml.safe_load(pin)["outs"]
        return str(output["md5"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(
            f"{where} does not pin one folder by its md5; write it anew with `dvc add`, and commit it"
        ) from None


def _path_in_repository(path: str) -> str:
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise UserError(f"data.path {path!r} must name a folder inside data.repository, such as data")
    return str(inside)


# Publishing.


def _publish_pinned(config: DataConfig, prepared: Path) -> str:
    revision = resolve_revision(config.model_copy(update={"revision": "HEAD"}))
    with _explained(f"publishing to {revision.repository}"), _dvc(Path(revision.repository)) as repo:
        found = _hash_of(repo, prepared)
        if found != revision.dvc_md5:
            raise UserError(
                f"the prepared data in {prepared} (md5 {found}) differs from {revision.path}.dvc at HEAD of "
                f"{revision.repository} (md5 {revision.dvc_md5}); to accept it, make it {revision.path} there and run "
                f"`dvc add {revision.path} && git commit {revision.path}.dvc`, or set data.commit: true"
            )
        _store(repo, prepared, config.remote)
    return revision.commit


def _publish_and_commit(config: DataConfig, prepared: Path) -> str:
    root, path = Path(config.repository).resolve(), _path_in_repository(config.path)
    folder = root / path
    with _explained(f"publishing to {root}"):
        _set_up(root)
        if prepared != folder:
            with staged_folder(folder, MANIFEST_NAME) as copy:
                shutil.copytree(prepared, copy, dirs_exist_ok=True)
        with _dvc(root) as repo:
            # Pushed before it is committed: a commit must never pin what cannot be fetched.
            _store(repo, folder, config.remote)
            repo.add([str(folder)])
        changed = [root / f"{path}.dvc", folder.parent / ".gitignore", root / ".gitignore", root / ".dvcignore"]
        changed += [root / ".dvc" / "config", root / ".dvc" / ".gitignore"]
        return _commit(root, [file for file in changed if file.is_file()], PreparedData.open(folder).digest)


def _set_up(root: Path) -> None:
    """Make `root` a Git repository with DVC in it, if it is none; its remote is then a folder in it."""
    from dvc.repo import Repo

    root.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        _git(["init", "--quiet"], root)
    if (root / ".dvc" / "config").is_file():
        return
    with _dvc_quiet():
        repo = Repo.init(str(root))
    repo.close()
    (root / ".dvc" / "config").write_text(_CONFIG, encoding="utf-8")
    for ignore in (root / ".gitignore", root / ".dvcignore"):
        lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
        ignore.write_text("\n".join([*lines, f"/{_DEFAULT_REMOTE}"]) + "\n", encoding="utf-8")


def _commit(root: Path, files: list[Path], digest: str) -> str:
    """Commit `files` and nothing else that may be staged; no commit when they have not changed."""
    names = [file.relative_to(root).as_posix() for file in dict.fromkeys(files)]
    _git(["add", "--", *names], root)
    if _git(["diff", "--cached", "--quiet", "--", *names], root, check=False).returncode:
        author = ["-c", "user.name=eve", "-c", "user.email=eve@localhost"]
        known = os.environ.get("GIT_AUTHOR_EMAIL") or _git(["config", "user.email"], root, check=False).stdout.strip()
        message = f"Pin prepared data {digest[:12]}"
        _git([*([] if known else author), "commit", "--quiet", "--message", message, "--", *names], root)
    return _git(["rev-parse", "HEAD"], root).stdout.strip()


# DVC. Its Python interface sends no analytics and looks for no update; only its command line does.


@contextmanager
def _dvc(root: Path) -> Iterator[Any]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo(str(root))
    except NotDvcRepoError:
        raise UserError(f"{root} is not set up for DVC; run `dvc init` there and add a remote") from None
    with _dvc_quiet(), repo:
        yield repo


@contextmanager
def _dvc_quiet() -> Iterator[None]:
    """Without DVC's advice to run git commands, which are run here."""
    import logging

    import dvc  # noqa: F401  (importing it sets the level)

    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _stage(repo: Any, folder: Path) -> tuple[Any, Any]:
    """The folder as DVC would store it: a store that refers to its files and copies none, and its tree of hashes."""
    from dvc.fs import localfs
    from dvc_data.hashfile.build import build

    staging, _, tree = build(repo.cache.local, str(folder.resolve()), localfs, "md5")
    return staging, tree


def _hash_of(repo: Any, folder: Path) -> str:
    return str(_stage(repo, folder)[1].hash_info.value)


def _store(repo: Any, folder: Path, remote: str | None) -> None:
    """Bring a folder's content into DVC's cache and from there to the remote; what is there already stays."""
    staging, tree = _stage(repo, folder)
    cache, target = repo.cache.local, repo.cloud.get_remote_odb(remote, "push")
    _transfer("storing data", staging, cache, tree)
    _transfer("pushing data", cache, target, tree)


def _transfer(doing: str, source: Any, target: Any, tree: Any) -> None:
    from dvc_data.hashfile.transfer import transfer

    total = len(tree) + 1  # the tree itself is one more
    with Progress(doing, total, unit="file") as progress:
        done = transfer(source, target, {tree.hash_info}, shallow=False, callback=_callback(progress))
        progress.update_to(total)  # what was there already is not reported
    if done.failed:
        raise UserError(f"{doing}: {len(done.failed)} files did not reach {target.path}; run the same command again")


def _callback(progress: Progress) -> Any:
    """Files done, as fsspec reports them."""
    from dvc.fs.callbacks import Callback

    class Files(Callback):
        def call(self, *args: Any, **kwargs: Any) -> None:
            progress.update_to(self.value)

    return Files()


def _missing_content(revision: DataRevision, remote: str | None) -> UserError:
    return UserError(
        f"the content of {revision.path}.dvc at commit {revision.commit[:12]} (md5 {revision.dvc_md5}) is neither in "
        f"the DVC cache of {revision.repository} nor on its remote{f' {remote}' if remote else ''}; where the data is, "
        f"run `dvc push {revision.path}.dvc`, or make it again with `eve data prepare --config ...`"
    )


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn what Git, DVC, the disk and remotes refuse into the user's sentence."""
    from botocore.exceptions import BotoCoreError  # no credentials for S3, say
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except UserError:
        raise
    except LockError:
        raise UserError(f"{doing}: another DVC command is running in that repository; wait for it to end") from None
    except (DvcException, BotoCoreError) as error:
        raise UserError(f"{doing}: {' '.join(str(error).split())}") from error
    except OSError as error:
        if error.filename:
            raise explain_os_error(error, doing) from error
        raise UserError(f"{doing}: {error}") from error  # a remote's answer; it names no file of this machine


# Git.


def _git(arguments: list[str], folder: Path | None = None, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    # A hook that starts this program sets GIT_DIR and more, which would point git at another repository; nobody is
    # there to answer a question for a password.
    strangers = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    environment = {key: value for key, value in os.environ.items() if key not in strangers}
    if shutil.which("git") is None:
        raise UserError("data is versioned with git, which is not installed; install it and run the same command again")
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment | {"GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise UserError(f"`git {arguments[0]}` failed in {folder}: {_last_line(done.stderr or done.stdout)}")
    return done


def _top_of_repository(repository: str) -> Path:
    folder = Path(repository).resolve()
    if not folder.is_dir():
        raise UserError(f"data.repository {repository} does not exist; set it to the repository that pins the data")
    found = _git(["rev-parse", "--show-toplevel"], folder, check=False)
    if found.returncode:
        raise UserError(
            f"data.repository {repository} is no Git repository with a working tree ({_last_line(found.stderr)}); "
            "set it to the clone that pins the data, or let `eve data prepare` make it (data.commit: true)"
        )
    top = Path(found.stdout.rstrip("\n")).resolve()
    if top != folder:
        raise UserError(
            f"data.repository {repository} is a folder inside the Git repository {top}; set data.repository to {top}, "
            "or let `eve data prepare` make it a repository of its own (data.commit: true)"
        )
    return top


def _is_url(repository: str) -> bool:
    return "://" in repository or re.match(r"^[\w.-]+@[\w.-]+:", repository) is not None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
