"""Does a registered version serve? Loaded from the registry, in a clean process, with its own pinned requirements.

It answers the requests that were kept when it was evaluated, with the code that was stored beside it, and its answers
have to be those of then.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eve_core.config.run import RegistryConfig
from eve_core.data.shards import file_sha256
from eve_core.errors import UserError
from eve_core.evaluation.blessing import Blessing
from eve_core.evaluation.served import Served, differences, read_requests, serve
from eve_core.registry.tracking import open_experiment
from eve_core.registry.versions import RegisteredVersion, fetch

STORED_REQUESTS = "artifacts/requests.parquet"
STORED_CODE = "code"
_TOLERANCE = 1e-4
"""By how much a score may differ between two machines."""


def check_serving(
    config: RegistryConfig, candidate: RegisteredVersion, blessing: Blessing, *, fresh: bool = False
) -> Served:
    """Ask a registered version what it was asked when it was evaluated.

    The environment is this one where it has exactly the version's pinned requirements, else one that is made of them.

    Args:
        config: the registry section.
        candidate: the version.
        blessing: its blessing.
        fresh: make an environment of its requirements whatever this one has.

    Returns:
        What it took.

    Raises:
        UserError: it does not load, answers otherwise than when it was evaluated, or takes longer than its gate allows.
    """
    tracking = open_experiment(config)
    what = f"{candidate.name} version {candidate.version}"
    with tempfile.TemporaryDirectory(prefix="eve-serving-") as folder:
        requests = fetch(tracking, candidate, STORED_REQUESTS, folder)
        if file_sha256(requests) != blessing.requests_digest:
            raise UserError(f"{what} has not the requests that it was evaluated with; register the model again")
        code = fetch(tracking, candidate, STORED_CODE, folder)
        pins = fetch(tracking, candidate, "requirements.txt", folder).read_text().split()
        python = sys.executable if not fresh and _has(pins) else _environment(pins, Path(folder))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "PYTHONPATH": str(code),
            "MLFLOW_TRACKING_URI": tracking.uri,
            "MLFLOW_REGISTRY_URI": tracking.uri,
            "HF_HUB_OFFLINE": "1",
        }
        served = serve(candidate.uri, requests, Path(folder) / "answers.json", python=python, environment=environment)
        _, expected = read_requests(requests)
    wrong = differences(served.answers, expected, _TOLERANCE)
    if wrong:
        raise UserError(f"{what} does not answer as it did when it was evaluated ({len(wrong)} times): {wrong[0]}")
    most = next((check.threshold for check in blessing.checks if check.name == "budget latency_ms"), None)
    if most is not None and served.latency_ms > most:
        raise UserError(
            f"{what} takes {served.latency_ms:.4g} ms for 95 of 100 requests, and its gate allows {most:.4g}; promote "
            "it where nothing else runs, or evaluate it again"
        )
    return served


def _has(pins: Sequence[str]) -> bool:
    """Whether this environment has exactly these versions."""
    for pin in pins:
        name, _, wanted = pin.partition("==")
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            return False
        if found != wanted:
            return False
    return True


def _environment(pins: Sequence[str], folder: Path) -> str:
    """A Python that has these requirements, what they need, and nothing else."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise UserError(
            f"this environment does not have the version's requirements ({', '.join(pins)}), and uv is not here to "
            "make one that has; install uv, or run this where they are installed"
        )
    python = str(folder / "environment" / "bin" / "python")
    release = f"{sys.version_info.major}.{sys.version_info.minor}"
    for command in (
        [uv, "venv", "--quiet", "--python", release, str(folder / "environment")],
        [uv, "pip", "install", "--quiet", "--python", python, *pins],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            said = " ".join(re.sub(r"\S+://\S+", "", ended.stderr).split())[-500:]
            raise UserError(f"an environment with the version's requirements cannot be made: {said}")
    return python
