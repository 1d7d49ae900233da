"""What the tests of readers share: reading everything, and what became of it."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eve_core.config import SourceConfig
from eve_core.data.sources import read_source
from eve_core.data.sources.annotation import Annotation, Rejected

Found = list[Annotation | Rejected]


def read_all(source: SourceConfig) -> Found:
    found = list(read_source(source))
    # What is rejected is part of the prepared data, whose digest must not depend on where the files were.
    assert not any(tempfile.gettempdir() in one.row_id + one.detail for one in rejected(found))
    return found


def rows(found: Iterable[Annotation | Rejected]) -> list[dict[str, Any]]:
    return [one.row for one in found if isinstance(one, Annotation)]


def annotations(found: Iterable[Annotation | Rejected]) -> list[Annotation]:
    return [one for one in found if isinstance(one, Annotation)]


def rejected(found: Iterable[Annotation | Rejected]) -> list[Rejected]:
    return [one for one in found if isinstance(one, Rejected)]


def reasons(found: Iterable[Annotation | Rejected]) -> list[tuple[str, str]]:
    return [(one.row_id, one.reason) for one in rejected(found)]


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
