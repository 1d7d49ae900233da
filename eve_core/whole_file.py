"""Files that are there whole or not at all, whenever a process is killed."""

import os
from pathlib import Path

from eve_core.errors import explain_os_error


def write_whole(text: str, path: Path, what: str) -> None:
    """Write a text file under another name, and rename it when it is complete; its folder is made.

    Args:
        text: written as UTF-8.
        path: of the file.
        what: names the file in errors ("the blessing").

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise explain_os_error(error, f"writing {what} {path}") from error
