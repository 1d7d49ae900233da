"""Making revisions of the data known: pinned by Git, stored in DVC's cache and on the remote."""

import os
import shutil
from pathlib import Path
from typing import Any

from eve_core.config import DataConfig
from eve_core.data.manifest import MANIFEST_NAME
from eve_core.data.prepared import PreparedData
from eve_core.data.staging import staged_folder
from eve_core.data.versioning.git import git, refuse_url
from eve_core.data.versioning.refusals import explained
from eve_core.data.versioning.revision import path_in_repository, resolve_revision
from eve_core.data.versioning.stores import Stores, open_stores, quiet, send, staged
from eve_core.errors import UserError

_DEFAULT_REMOTE = ".dvc-remote"
# The url is relative to this file, .dvc/config, so that the repository can be moved.
_CONFIG = f"""[core]
    analytics = false
    check_update = false
    remote = local
['remote "local"']
    url = ../{_DEFAULT_REMOTE}
"""


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
    refuse_url(config.repository)
    prepared = Path(prepared).resolve()
    PreparedData.open(prepared)
    return _publish_and_commit(config, prepared) if config.commit else _publish_pinned(config, prepared)


def _publish_pinned(config: DataConfig, prepared: Path) -> str:
    revision = resolve_revision(config.model_copy(update={"revision": "HEAD"}))
    with open_stores(revision.repository, config.remote, f"publishing {revision}") as stores:
        source, listing = staged(stores.repo, prepared)
        if listing.hash_info.value != revision.dvc_md5:
            raise UserError(
                f"the prepared data in {prepared} (md5 {listing.hash_info.value}) differs from {revision.path}.dvc at "
                f"HEAD of {revision.repository} (md5 {revision.dvc_md5}); to accept it, make it {revision.path} there "
                f"and run `dvc add {revision.path} && git commit {revision.path}.dvc`, or set data.commit: true"
            )
        _store(stores, source, listing)
    return revision.commit


def _publish_and_commit(config: DataConfig, prepared: Path) -> str:
    root, path = Path(config.repository).resolve(), path_in_repository(config.path)
    folder = root / path
    with explained(f"publishing to {root}"):
        _set_up(root)
        if prepared != folder:
            with staged_folder(folder, MANIFEST_NAME) as copy:
                shutil.copytree(prepared, copy, dirs_exist_ok=True)
    with open_stores(root, config.remote, f"publishing to {root}") as stores:
        # Pushed before it is committed: a commit must never pin what cannot be fetched.
        _store(stores, *staged(stores.repo, folder))
        stores.repo.add([str(folder)])
    changed = [root / f"{path}.dvc", folder.parent / ".gitignore", root / ".gitignore", root / ".dvcignore"]
    changed += [root / ".dvc" / "config", root / ".dvc" / ".gitignore"]
    return _commit(root, [file for file in changed if file.is_file()], PreparedData.open(folder).digest)


def _store(stores: Stores, source: Any, listing: Any) -> None:
    """Bring a folder's content into DVC's cache and from there to the remote; what is there already stays."""
    send("storing data", source, stores.cache, listing)
    send("pushing data", stores.cache, stores.remote, listing)


def _set_up(root: Path) -> None:
    """Make `root` a Git repository with DVC in it, if it is none; its remote is then a folder in it."""
    from dvc.repo import Repo

    root.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        git(["init", "--quiet"], root)
    if (root / ".dvc" / "config").is_file():
        return
    with quiet():
        repo = Repo.init(str(root))
    repo.close()
    (root / ".dvc" / "config").write_text(_CONFIG, encoding="utf-8")
    for ignore in (root / ".gitignore", root / ".dvcignore"):
        lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
        ignore.write_text("\n".join([*lines, f"/{_DEFAULT_REMOTE}"]) + "\n", encoding="utf-8")


def _commit(root: Path, files: list[Path], digest: str) -> str:
    """Commit `files` and nothing else that may be staged; no commit when they have not changed."""
    names = [file.relative_to(root).as_posix() for file in dict.fromkeys(files)]
    git(["add", "--", *names], root)
    if git(["diff", "--cached", "--quiet", "--", *names], root, check=False).returncode:
        author = ["-c", "user.name=eve", "-c", "user.email=eve@localhost"]
        known = os.environ.get("GIT_AUTHOR_EMAIL") or git(["config", "user.email"], root, check=False).stdout.strip()
        message = f"Pin prepared data {digest[:12]}"
        git([*([] if known else author), "commit", "--quiet", "--message", message, "--", *names], root)
    return git(["rev-parse", "HEAD"], root).stdout.strip()
