"""A blessing: the gate's verdict on one model, with everything it rests on, as a JSON artifact.

The registry takes no model without one. The digest covers every other field, so that an edited verdict is noticed; it
is no signature: whoever can write files can also write a new digest.
"""

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eve_core.errors import UserError, existing_file
from eve_core.whole_file import write_whole

FORMAT = 2


@dataclass(frozen=True)
class Check:
    """One thing the gate asked for."""

    name: str
    """What was checked, such as "floor accuracy"."""
    value: float | None
    """What was found; None when there is no finite number."""
    threshold: float | None
    """What was asked for; None when nothing was."""
    passed: bool
    """Whether it holds."""
    sentence: str
    """The outcome in words."""


_TEXTS = ("reasons", "trained_on", "scored_on")
Interval = tuple[float, float, float]
"""A number and the ends of its 95 % interval."""


@dataclass(frozen=True)
class Part:
    """The main metric on some of the items: all of them, or a slice."""

    name: str
    """"all", or what the slice is, such as "answer_type number"."""
    items: int
    """How many there are."""
    candidate: Interval
    """The candidate's metric."""
    champion: Interval | None
    """The champion's."""
    gain: Interval | None
    """The candidate's less the champion's."""


@dataclass(frozen=True)
class Blessing:
    """The verdict on one candidate. A metric that is no finite number is None."""

    task: str
    """Name of the task."""
    trained_on: tuple[str, ...]
    """Sets and splits that the candidate saw, first those of pre-training."""
    scored_on: tuple[str, ...]
    """Sets and splits of the test."""
    blessed: bool
    """Whether every check passed."""
    reasons: tuple[str, ...]
    """The sentences of the checks that failed."""
    checks: tuple[Check, ...]
    """Every check, in the order in which they were made."""
    items: int
    """Scored items."""
    test_digest: str
    """sha256 of the scored items' ids and ground truth."""
    data_digest: str
    """Digest of the data manifest."""
    data_revision: str
    """Git commit that pins the data."""
    code_revision: str
    """Git commit of the code that judged."""
    model_digest: str
    """`eve_core.model_digest.model_digest` of the candidate."""
    main_metric: str
    """What it was compared with the champion by."""
    metrics: Mapping[str, float | None]
    """The candidate's metrics."""
    parts: tuple[Part, ...]
    """The main metric on all items, and on every slice; none where a score is no number."""
    served: Mapping[str, float | None]
    """What the candidate takes as it is served: latency_ms, memory_mb, size_mb."""
    requests_digest: str
    """sha256 of the file of requests that it answered as it is served, with its answers."""
    champion_version: str | None
    """Registered version it was compared with; None when there was no champion."""
    champion_digest: str | None
    """Model digest of that version."""
    champion_metrics: Mapping[str, float | None] | None
    """That version's metrics on the same items."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of all fields."""
        return _digest(self._content())

    def to_json(self) -> dict[str, Any]:
        """The artifact: all fields and their digest."""
        return {**self._content(), "digest": self.digest}

    def _content(self) -> dict[str, Any]:
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        content |= {name: list(content[name]) for name in _TEXTS}
        content["checks"] = [vars(check) for check in self.checks]
        content["parts"] = [{name: _listed(value) for name, value in vars(part).items()} for part in self.parts]
        return {"format": FORMAT, **content}


def write_blessing(blessing: Blessing, path: Path | str) -> None:
    """Write the artifact to `path`, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    write_whole(json.dumps(blessing.to_json(), indent=2, allow_nan=False) + "\n", Path(path), "the blessing")


def read_blessing(path: Path | str) -> Blessing:
    """Read an artifact that `write_blessing` wrote.

    Raises:
        UserError: it is missing or no blessing, or it was changed after it was written.
    """
    path = existing_file(path, "the blessing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"the blessing {path} is not valid JSON; run the evaluation again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is no blessing of format {FORMAT}; run the evaluation again")
    if content.pop("digest", None) != _digest(content):
        raise UserError(f"the blessing {path} was changed after the gate wrote it; run the evaluation again")
    del content["format"]
    blessing = _parsed(content, path)
    if blessing.blessed != (bool(blessing.checks) and all(check.passed for check in blessing.checks)):
        raise UserError(f"the blessing {path} contradicts its own checks; run the evaluation again")
    return blessing


def _parsed(content: dict[str, Any], path: Path) -> Blessing:
    lacking = [name for name in ("checks", "parts", *_TEXTS) if not isinstance(content.get(name), list)]
    if lacking:
        raise UserError(f"the blessing {path} lacks its {', '.join(lacking)}; run the evaluation again")
    checks = tuple(_record(Check, check, path) for check in content["checks"])
    parts = tuple(
        _record(Part, {name: tuple(v) if isinstance(v, list) else v for name, v in dict(part).items()}, path)
        for part in content["parts"]
    )
    texts = {name: tuple(content[name]) for name in _TEXTS}
    blessing: Blessing = _record(Blessing, {**content, **texts, "checks": checks, "parts": parts}, path)
    return blessing


def _listed(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _record(kind: type, content: Any, path: Path) -> Any:
    """A dataclass from a JSON object that has exactly its fields, each of the annotated type."""
    hints = typing.get_type_hints(kind)
    if not isinstance(content, dict) or set(content) != set(hints):
        raise UserError(f"the blessing {path} has not a {kind.__name__.lower()}'s fields; run the evaluation again")
    wrong = [name for name, hint in hints.items() if not _is_a(content[name], hint)]
    if wrong:
        raise UserError(f"the blessing {path} has a wrong value for {', '.join(wrong)}; run the evaluation again")
    return kind(**content)


def _is_a(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_is_a(value, option) for option in arguments)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if origin is Mapping:
        return isinstance(value, dict) and all(_is_a(item, arguments[1]) for item in value.values())
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
