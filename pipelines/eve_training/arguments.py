"""A run's configuration as the parameters of the pipeline, and what they are checked against."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from eve_core.config import EvaluationConfig, RunConfig, RunSettings
from eve_core.config.section import Section

AnySection = TypeVar("AnySection", bound=Section)

_ROOT = Path(__file__).parents[2]


def pipeline_arguments(config: RunConfig) -> dict[str, Any]:
    """The parameters of `eve_training` for one run.

    Every step gets its own section, so that changing one setting runs again only what depends on it. Sections of a task
    travel as JSON texts, because fields of loop items can be nothing else.
    """
    tokenizer = _with_absolute(config.tokenizer, "path")
    finetuning = {name: _with_absolute(task.finetuning, "answers") for name, task in config.tasks.items()}
    evaluation = {name: _with_absolute_tables(task.evaluation) for name, task in config.tasks.items()}
    tables = [part.table for section in evaluation.values() for part in section.slices]
    files = [tokenizer.path, *(section.answers for section in finetuning.values()), *tables]
    settings = RunSettings(
        seed=config.seed,
        workspace=config.workspace.absolute(),
        registry=config.registry.absolute(),
        code_digest=code_digest([path for path in files if path is not None]),
    )
    return {
        "run": _plain(settings),
        "config": _plain(config),
        "data": _plain(config.data, {"repository", "path", "revision", "remote"}),
        "validation": _plain(config.validation),
        "tokenizer": _plain(tokenizer),
        "model": _plain(config.model),
        "pretraining": _plain(config.pretraining),
        "tasks": [
            {
                "target": name,
                "data": task.data.model_dump_json(),
                "finetuning": finetuning[name].model_dump_json(),
                "evaluation": evaluation[name].model_dump_json(),
                "gate": config.gate_of(name).model_dump_json(),
            }
            for name, task in config.tasks.items()
        ],
        "git_revision": git_revision(),
    }


def _with_absolute(section: AnySection, field: str) -> AnySection:
    """The section with a path, if it has one, for a process with another working folder."""
    path = getattr(section, field)
    return section if path is None else section.model_copy(update={field: path.absolute()})


def _with_absolute_tables(section: EvaluationConfig) -> EvaluationConfig:
    return section.model_copy(update={"slices": [_with_absolute(part, "table") for part in section.slices]})


def _plain(section: Section, only: set[str] | None = None) -> dict[str, Any]:
    """A section as kfp takes it: what is None is left out, so None has to be the default of every field that may be."""
    plain = section.model_dump(mode="json", include=only, exclude_none=True)
    arrives = type(section).model_validate(plain)
    for name in only or type(section).model_fields:
        assert getattr(arrives, name) == getattr(section, name), f"{name} would arrive as {getattr(arrives, name)}"
    return plain


def pipeline_name(config: RunConfig, at: datetime) -> str:
    """The key of a run that starts at `at`: the config's name and the time, to the millisecond."""
    return f"{config.name}-{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"


def code_digest(files: Sequence[Path] = ()) -> str:
    """sha256 over the sources that steps run, so that a cached result is never that of other code.

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
