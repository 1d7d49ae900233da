"""What every section of a run's configuration has in common."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings. An unknown key is an error; the docstring under a field is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def digest(self) -> str:
        """sha256 over the canonical JSON of all values, defaults included."""
        return digest(self.model_dump(mode="json"))


def digest(tree: Any) -> str:
    """sha256 over the canonical JSON of `tree`."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    named: dict[str, Any] = {}
    for name, value in tree.items():
        named.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return named
