"""Which code this is, so that a result of one is never taken for that of another."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def code_digest(files: Sequence[Path] = ()) -> str:
    """sha256 over the sources that steps run, here or in an image.

    Args:
        files: files and folders that a config names besides its data; their contents count as well.
    """
    digest = hashlib.sha256()
    for package in ("eve_core", "components"):
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".html", ".css"):
                digest.update(json.dumps([str(path.relative_to(_ROOT)), path.read_text(encoding="utf-8")]).encode())
    for file in (found for path in files for found in ([path] if path.is_file() else sorted(path.rglob("*")))):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
