"""Import modules and all that their packages import anywhere, so that Python stores the bytecode.

Compiling all installed files would do too, and take hundreds of megabytes for what nobody imports.
"""

import ast
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


def imported_by(name: str) -> Iterator[str]:
    """A module, and where it is a package all of its modules and what their import statements name."""
    yield name
    spec = importlib.util.find_spec(name)
    for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
        for path in sorted(folder.rglob("*.py")):
            yield ".".join((name, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (found.name for found in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module
                    yield from (f"{node.module}.{found.name}" for found in node.names)


if __name__ == "__main__":
    sys.path.pop(0)  # the sources here, which are installed
    for name in sorted({name for given in sys.argv[1:] for name in imported_by(given)}):
        if not name.endswith("__main__"):
            with contextlib.suppress(Exception):  # another role's, or no module but something in one
                importlib.import_module(name)
