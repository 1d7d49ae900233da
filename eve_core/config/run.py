"""One YAML file is one run: reading it, and saying what is wrong with it."""

import difflib
import os
import re
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from eve_core.config.cluster import ClusterConfig
from eve_core.config.data import DataConfig, TaskDataConfig, ValidationConfig
from eve_core.config.evaluation import EvaluationConfig, GateConfig
from eve_core.config.pool import PoolConfig
from eve_core.config.schedule import ScheduleConfig
from eve_core.config.section import Section, digest
from eve_core.config.training import FinetuningConfig, ModelConfig, PretrainingConfig, TaskName, TokenizerConfig
from eve_core.errors import UserError, existing_file


class TaskConfig(Section):
    """One downstream task, from fine-tuning to its gate."""

    data: TaskDataConfig
    """What it is trained and scored on."""
    finetuning: FinetuningConfig
    """How the pre-trained model is fine-tuned for it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How it is scored."""
    gate: GateConfig
    """What it must reach."""


class RegistryConfig(Section):
    """The MLflow server that tracks runs and holds registered models."""

    tracking_uri: str = "sqlite:///.eve/mlflow.db"
    """MLflow tracking and registry: SQLite in the workspace by default, or a server's URL."""
    artifacts: str | None = ".eve/mlflow-artifacts"
    """Where artifacts of a new experiment go when MLflow is a local database; a server decides for itself."""
    experiment: str = "eve"
    """Experiment that the runs are logged under."""
    model_prefix: str = "eve"
    """Registered models are named <prefix>-<task>."""
    approval: bool = False
    """Whether somebody has to agree before a blessed model becomes champion: a pipeline run then ends with a registered
    candidate, which `eve promote`, or the answer to the retraining flow's question, promotes."""

    @field_validator("tracking_uri", "artifacts")
    @classmethod
    def _without_credentials(cls, address: str | None) -> str | None:
        if urlsplit(address or "").password:
            raise ValueError("it may hold no password; set MLFLOW_TRACKING_PASSWORD and the like in the environment")
        return address

    def absolute(self) -> "RegistryConfig":
        """The same registry for a process with another working folder."""
        changes: dict[str, str] = {}
        if self.tracking_uri.startswith("sqlite:///"):
            changes["tracking_uri"] = f"sqlite:///{Path(self.tracking_uri.removeprefix('sqlite:///')).absolute()}"
        if self.artifacts is not None and "://" not in self.artifacts:
            changes["artifacts"] = str(Path(self.artifacts).absolute())
        return self.model_copy(update=changes)


class RunSettings(Section):
    """What every step of a run needs to know besides its own section."""

    seed: int
    """Every random draw of training follows from it."""
    workspace: Path
    """Folder for everything that runs leave behind."""
    registry: RegistryConfig
    """Tracking and model registry."""
    code_digest: str
    """sha256 of the code that the steps run and of files that the config names; a cached step is made from it."""
    source_digest: str = ""
    """sha256 of the code alone, which a step refuses to run for when its own is another; empty for any."""


class NotificationConfig(Section):
    """Who is told how a run ended, whatever happened."""

    variable: str = "EVE_WEBHOOK_URL"
    """Environment variable with the URL that gets a message as JSON {"text": ...}, as Slack, Teams and Mattermost take
    it; nobody is told where it is not set."""


class RunConfig(Section):
    """Everything about one run of the workflow."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name of the run's recipe, part of every run's name."""
    seed: int = 0
    """Every random draw of training follows from it."""
    workspace: Path = Path(".eve")
    """Folder for everything that runs leave behind: artifacts, caches, reports."""
    data: DataConfig
    """The data set."""
    validation: ValidationConfig = ValidationConfig()
    """The checks on it."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """The tokenizer."""
    model: ModelConfig = ModelConfig()
    """The network."""
    pretraining: PretrainingConfig
    """Pre-training."""
    tasks: dict[TaskName, TaskConfig] = Field(min_length=1)
    """Downstream tasks by name."""
    registry: RegistryConfig = RegistryConfig()
    """Tracking and model registry."""
    pool: PoolConfig | None = None
    """GPUs that it trains on."""
    cluster: ClusterConfig | None = None
    """Kubeflow, where the pipeline is submitted to a cluster."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Retraining by itself."""
    notification: NotificationConfig = NotificationConfig()
    """Who is told how a run ended."""

    def digest(self) -> str:
        """sha256 of what a run computes, whatever it runs on, and whenever."""
        elsewhere: dict[str, Any] = {
            **dict.fromkeys(("workspace", "pool", "cluster", "schedule", "notification", "registry"), True),
            "data": {"repository", "remote"},
            "pretraining": {"launch"},
            "tasks": {name: {"finetuning": {"launch"}} for name in self.tasks},
        }
        return digest(self.model_dump(mode="json", exclude=elsewhere))

    @model_validator(mode="after")
    def _settings_belong_to_their_task(self) -> "RunConfig":
        for name, task in self.tasks.items():
            if task.finetuning.head != "plain" and name != "nlvr2":
                raise ValueError(f"tasks.{name}.finetuning.head is for nlvr2 alone; remove it")
            if task.finetuning.answers is not None and name != "vqa":
                raise ValueError(f"tasks.{name}.finetuning.answers is for vqa alone; remove it")
        return self

    def shared_workspace(self) -> Path:
        """The workspace as whoever retrains sees it: on the cluster's volume, where runs are submitted to it."""
        if self.schedule.submit and self.cluster is not None:
            return Path(self.cluster.mount_path) / self.workspace
        return self.workspace.absolute()

    def gate_of(self, task: TaskName) -> GateConfig:
        """A task's gate with its share of the error rate, so that all gates of the run keep it together."""
        gate = self.tasks[task].gate
        return gate.model_copy(update={"alpha": gate.alpha / len(self.tasks)})


def load_config(path: Path | str) -> RunConfig:
    """Read and check a run's YAML file.

    `${NAME}` and `${NAME:-default}` inside a value are taken from the environment.

    Raises:
        UserError: the file is missing or is no YAML, or a key is unknown, missing or has a wrong value; every problem
            is named with its key, and an unknown key with the nearest known one.
    """
    path = existing_file(path, "the config file")
    tree = _read(path, ())
    try:
        return RunConfig.model_validate(_expand(tree, path))
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors()]
        raise UserError(f"{path}: " + "; ".join(problems)) from None


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The settings of a file, over those of the file that its key `base` names."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a mapping of settings; see configs/demo.yaml")
    if "base" not in tree:
        return tree
    base = existing_file(path.parent / str(tree.pop("base")), f"the base of {path}")
    if base.resolve() in above or base.resolve() == path.resolve():
        raise UserError(f"{path} is its own base, by way of {base}; remove one of the two keys")
    return _over(_read(base, (*above, path.resolve())), tree)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key, and null takes a key away; anything else replaces what is below."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _over(merged[key], value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
# Set by `eve data prepare` itself, so that a config may name it before it is known.
_KNOWN_LATER = {"EVE_SYNTHETIC_WORLD"}


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path) for item in value]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return default
        if name in _KNOWN_LATER:
            return match.group(0)
        raise UserError(f"{path} uses ${{{name}}}, which is not set in the environment; set it, or write a default")

    return _VARIABLE.sub(substitute, value)


def _sentence(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    key, known_keys = _locate(location)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], known_keys, n=1)
        return f"unknown key {key}" + (f" (did you mean {near[0]}?)" if near else "; remove it")
    if problem["type"] == "missing":
        return f"key {key} is missing; add it"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:  # a check across sections names its keys itself
        return str(message)
    return f"{key}: {message[0].lower()}{message[1:]}" + (
        f", not {problem['input']!r}" if isinstance(problem["input"], str | int | float) else ""
    )


def _locate(location: list[str]) -> tuple[str, list[str]]:
    """The key at `location` as the file spells it, and the fields of the section that it stands in."""
    sections: list[type[Section]] = [RunConfig]
    spelled, known_keys = [], list(RunConfig.model_fields)
    for part in location:
        of_this_set = [section for section in sections if part in _sets_of(section)]
        if of_this_set:  # pydantic puts a source's set into its location; the file has no such key
            sections = of_this_set
            continue
        spelled.append(part)
        known_keys = [name for section in sections for name in section.model_fields]
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        if fields:  # otherwise the index of a list or the key of a mapping
            sections = [found for field in fields for found in _sections_of(field.annotation)]
    return ".".join(spelled), known_keys


def _sets_of(section: type[Section]) -> tuple[str, ...]:
    """The sets that a kind of source is for; none for any other section."""
    return get_args(section.model_fields["set"].annotation) if "set" in section.model_fields else ()


def _sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _sections_of(part)]
