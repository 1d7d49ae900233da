"""Which content a Git revision stands for."""

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from eve_core.config import DataConfig
from eve_core.data.versioning.git import git, is_url, last_line, top_of_repository
from eve_core.errors import UserError


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

    def __str__(self) -> str:
        return f"data revision {self.commit[:12]} of {self.repository}"


def resolve_revision(config: DataConfig) -> DataRevision:
    """The immutable version that `config.revision` (a commit, tag or branch) stands for now.

    Its commit is the one that pinned the data: later commits that leave <path>.dvc as it is are the same revision.

    Raises:
        UserError: the repository is no Git repository, or cannot be reached; it has no such revision; <path>.dvc is
            not in that revision.
    """
    if not is_url(config.repository):
        return _resolve(top_of_repository(config.repository), config)
    with tempfile.TemporaryDirectory(prefix="eve-revision-") as folder:
        cloned = git(["clone", "--bare", "--quiet", "--", config.repository, folder], check=False)
        if cloned.returncode:
            raise UserError(f"data.repository {config.repository} cannot be read: {last_line(cloned.stderr)}")
        return _resolve(Path(folder), config)


def path_in_repository(path: str) -> str:
    """`data.path` as Git spells it.

    Raises:
        UserError: it points outside the repository.
    """
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise UserError(f"data.path {path!r} must name a folder inside data.repository, such as data")
    return str(inside)


def pinned_md5(pin: str, where: str) -> str:
    """The md5 of the folder that a .dvc file pins.

    Args:
        pin: the file's text.
        where: names the file in the error.

    Raises:
        UserError: it pins something else.
    """
    try:
        (output,) = yaml.safe_load(pin)["outs"]
        md5 = str(output["md5"])
        if not md5.endswith(".dir"):
            raise ValueError(md5)
        return md5
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(
            f"{where} does not pin one folder by its md5; write it anew with `dvc add`, and commit it"
        ) from None


def _resolve(git_folder: Path, config: DataConfig) -> DataRevision:
    path, name = path_in_repository(config.path), config.repository
    commit = git(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{config.revision}^{{commit}}"],
        git_folder,
        check=False,
    ).stdout.strip()
    if not commit:
        raise UserError(
            f"data.revision {config.revision!r} is no commit, tag or branch of {name}; "
            f"`git -C {name} log --oneline --all -- {path}.dvc` lists the data's revisions"
        )
    pin = git(["show", f"{commit}:{path}.dvc"], git_folder, check=False)
    if pin.returncode:
        raise UserError(
            f"{path}.dvc is not in revision {config.revision} of {name}, so no data is pinned there; publish the data "
            "with `eve data prepare` (data.commit: true), or choose another data.revision or data.path"
        )
    # The commit that last changed the pin or where it is stored: other commits do not make a new data revision.
    commit = (
        git(["log", "-1", "--format=%H", commit, "--", f"{path}.dvc", ".dvc/config"], git_folder).stdout.strip()
        or commit
    )
    repository = name if is_url(name) else str(git_folder)
    return DataRevision(repository, path, commit, pinned_md5(pin.stdout, f"{path}.dvc in revision {commit[:12]}"))
