"""A run's configuration as the parameters of the pipeline, and what they are checked against."""

import hashlib
import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from eve_core.config import RunConfig, RunSettings
from eve_core.config.section import Section

_ROOT = Path(__file__).parents[2]


def pipeline_arguments(config: RunConfig) -> dict[str, Any]:
    """The parameters of `eve_training` for one run.

    Every step gets its own section, so that changing one setting runs again only what depends on it. Sections of a task
    travel as JSON texts, because fields of loop items can be nothing else.
    """
    settings = RunSettings(
        seed=config.seed,
        workspace=config.workspace.absolute(),
        registry=config.registry.absolute(),
        code_digest=code_digest(),
    )
    return {
        "run": _plain(settings),
        "config": _plain(config),
        "data": _plain(config.data, {"repository", "path", "revision", "remote"}),
        "validation": _plain(config.validation),
        "tokenizer": _plain(config.tokenizer),
        "model": _plain(config.model),
        "pretraining": _plain(config.pretraining),
        "tasks": [
            {
                "target": name,
                "data": task.data.model_dump_json(),
                "finetuning": task.finetuning.model_dump_json(),
                "evaluation": task.evaluation.model_dump_json(),
                "gate": task.gate.model_dump_json(),
            }
            for name, task in config.tasks.items()
        ],
        "git_revision": git_revision(),
    }


def _plain(section: Section, only: set[str] | None = None) -> dict[str, Any]:
    """A section as kfp takes it: what is None is left out."""
    return section.model_dump(mode="json", include=only, exclude_none=True)


def pipeline_name(config: RunConfig, at: datetime) -> str:
    """The key of a run that starts at `at`: the config's name and the time, to the millisecond."""
    return f"{config.name}-{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"


def code_digest() -> str:
    """sha256 over the sources that steps run, so that a cached result is never that of other code."""
    digest = hashlib.sha256()
    for package in ("eve_core", "components"):
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".html"):
                digest.update(json.dumps([str(path.relative_to(_ROOT)), path.read_text(encoding="utf-8")]).encode())
    return digest.hexdigest()


def git_revision() -> str:
    """The commit of this code, marked `-dirty` when files differ from it; "unknown" outside a git checkout."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
