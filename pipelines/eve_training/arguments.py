"""A run's configuration as the parameters of the pipeline, and what they are checked against."""

import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from eve_core.code_digest import code_digest
from eve_core.config import RunConfig, RunSettings
from eve_core.config.section import Section
from eve_core.data.versioning.git import is_url
from eve_core.errors import UserError

AnySection = TypeVar("AnySection", bound=Section)

_ROOT = Path(__file__).parents[2]


def pipeline_arguments(config: RunConfig) -> dict[str, Any]:
    """The parameters of the pipeline for one run.

    Every step gets its own section, so that changing one setting runs again only what depends on it. Sections of a task
    travel as JSON texts, because fields of loop items can be nothing else.
    """
    return _arguments(_with_absolute_paths(config), config)


def cluster_arguments(config: RunConfig) -> dict[str, Any]:
    """The same for a run on a cluster, whose steps see its volume and nothing of this machine.

    Raises:
        UserError: the config names something that is on this machine alone.
    """
    cluster = config.cluster
    if cluster is None:
        raise UserError("there is no section cluster in the config, which says where Kubeflow is; add it")
    if config.registry.tracking_uri.partition("://")[0] not in ("http", "https", "databricks"):
        raise UserError(
            f"registry.tracking_uri {config.registry.tracking_uri} is on this machine; a cluster needs the URL of an "
            "MLflow server"
        )
    if config.workspace.is_absolute() and not config.workspace.is_relative_to(cluster.mount_path):
        raise UserError(
            f"workspace {config.workspace} is on this machine; the cluster's steps see {cluster.mount_path}: name a "
            "folder in there, best by a relative path"
        )
    named = {"data.repository": None if is_url(config.data.repository) else Path(config.data.repository)}
    named |= {f"a file of the config ({path})": path for path in named_files(config)}
    for what, path in named.items():
        if path is not None and not path.is_absolute():
            raise UserError(
                f"{what} is on this machine; the cluster's steps see {cluster.mount_path}: put it there, and write the "
                "absolute path, or for a repository its URL"
            )
    return _arguments(config.model_copy(update={"workspace": Path(cluster.mount_path) / config.workspace}), config)


def at_commit(arguments: dict[str, Any], commit: str) -> dict[str, Any]:
    """The same parameters, on the data revision that somebody has resolved."""
    return {**arguments, "data": {**arguments["data"], "revision": commit}}


def _arguments(config: RunConfig, written: RunConfig) -> dict[str, Any]:
    """For steps that see the files which `config` names; the record is of the config as it was `written`."""
    settings = RunSettings(
        seed=config.seed,
        workspace=config.workspace,
        registry=config.registry,
        code_digest=code_digest([path for path in named_files(config) if path.exists()]),
        source_digest=code_digest(),
    )
    return {
        "run": _plain(settings),
        "config": _plain(written),
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
                "gate": config.gate_of(name).model_dump_json(),
            }
            for name, task in config.tasks.items()
        ],
        "git_revision": git_revision(),
    }


def named_files(config: RunConfig) -> list[Path]:
    """The files that a config names besides its data."""
    found = [config.tokenizer.path, *(task.finetuning.answers for task in config.tasks.values())]
    found += [part.table for task in config.tasks.values() for part in task.evaluation.slices]
    return [path for path in found if path is not None]


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same run for processes with another working folder."""
    tasks = {
        name: task.model_copy(
            update={
                "finetuning": _with_absolute(task.finetuning, "answers"),
                "evaluation": task.evaluation.model_copy(
                    update={"slices": [_with_absolute(part, "table") for part in task.evaluation.slices]}
                ),
            }
        )
        for name, task in config.tasks.items()
    }
    repository = config.data.repository
    data = {"repository": repository if is_url(repository) else str(Path(repository).absolute())}
    return config.model_copy(
        update={
            "workspace": config.workspace.absolute(),
            "registry": config.registry.absolute(),
            "data": config.data.model_copy(update=data),
            "tokenizer": _with_absolute(config.tokenizer, "path"),
            "tasks": tasks,
        }
    )


def _with_absolute(section: AnySection, field: str) -> AnySection:
    path = getattr(section, field)
    return section if path is None else section.model_copy(update={field: path.absolute()})


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


def git_revision() -> str:
    """The commit of this code, of the checkout or of the image, marked `-dirty` where files differ from it."""
    if "EVE_GIT_REVISION" in os.environ:
        return os.environ["EVE_GIT_REVISION"]
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
