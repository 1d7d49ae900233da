"""Running git."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from eve_core.errors import UserError


def git(arguments: list[str], folder: Path | None = None, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `git ARGUMENTS` in `folder`.

    Raises:
        UserError: git is not installed, or, with `check`, it failed.
    """
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
        raise UserError(f"`git {arguments[0]}` failed in {folder}: {last_line(done.stderr or done.stdout)}")
    return done


def top_of_repository(repository: str) -> Path:
    """The absolute path of a local data repository.

    Raises:
        UserError: it is missing, no Git repository, or a folder inside one.
    """
    folder = Path(repository).resolve()
    if not folder.is_dir():
        raise UserError(f"data.repository {repository} does not exist; set it to the repository that pins the data")
    found = git(["rev-parse", "--show-toplevel"], folder, check=False)
    if found.returncode:
        raise UserError(
            f"data.repository {repository} is no Git repository with a working tree ({last_line(found.stderr)}); "
            "set it to the clone that pins the data, or let `eve data prepare` make it (data.commit: true)"
        )
    top = Path(found.stdout.rstrip("\n")).resolve()
    if top != folder:
        raise UserError(
            f"data.repository {repository} is a folder inside the Git repository {top}; set data.repository to {top}, "
            "or let `eve data prepare` make it a repository of its own (data.commit: true)"
        )
    return top


def refuse_url(repository: str) -> None:
    """Refuse a repository that is not on this machine, since its cache is not either.

    Raises:
        UserError: it is a URL.
    """
    if is_url(repository):
        raise UserError(
            f"data.repository {repository} is a URL, and data is published from a local clone; "
            "clone it and set data.repository to the clone's path"
        )


def is_url(repository: str) -> bool:
    """Whether a data repository is to be cloned first."""
    return "://" in repository or re.match(r"^[\w.-]+@[\w.-]+:", repository) is not None


def last_line(text: str) -> str:
    """What git said last."""
    return (text.strip().splitlines() or ["no message"])[-1]
