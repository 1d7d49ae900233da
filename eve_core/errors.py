"""The one error that people meet: a sentence that says what is wrong, where, and how to mend it."""

import errno
import os
from pathlib import Path

# SQLite, safetensors and Arrow, PyTorch's archive writer.
_FULL_DISK = ("disk is full", "No space left on device", "PytorchStreamWriter failed writing", "unexpected pos ")


class UserError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it.

    The command line prints the message alone and exits with status 1. Anything else that escapes is a defect of this
    project and keeps its traceback.
    """


class Preempted(UserError):
    """The process was told to stop, and saved before it did."""


def explain_os_error(error: OSError, doing: str) -> UserError:
    """The sentence for an operating system's refusal (a full disk, a read-only folder) while `doing` something."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return UserError(f"{doing}: the disk is full{where}; free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{doing}: no permission to write{where}; choose another folder or change its permissions")
    return UserError(f"{doing}: {os.strerror(error.errno or 0)}{where}")


def explain(error: Exception, doing: str) -> str:
    """What a failure that ended some work says to a person; libraries wrap a full disk in errors of their own."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return str(explain_os_error(error, doing))
    said = " ".join(str(error).split())
    if is_full_disk(error):
        return str(explain_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), doing))
    if is_from_mlflow(error):
        return f"{doing}: MLflow could not do what it was asked ({said[:300]}); run the same again when it can"
    return f"{type(error).__name__}: {said}"


def is_full_disk(error: Exception) -> bool:
    """Whether a library says in words of its own that the disk is full."""
    return any(word in " ".join(str(error).split()) for word in _FULL_DISK)


def is_from_mlflow(error: Exception) -> bool:
    """Whether MLflow raised it, its server away for instance; without importing MLflow, which takes seconds."""
    return type(error).__module__ == "mlflow.exceptions"


def existing_file(path: Path | str, what: str) -> Path:
    """`path` as a Path when it is a file.

    Raises:
        UserError: it is missing or a folder; `what` names it ("the questions file").
    """
    path = Path(path)
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{what} {path} {reason}; check the path in the config or on the command line")
    return path
