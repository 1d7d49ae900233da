"""What can be known before anything runs: that the pipeline compiles and that every config fits it and its cluster."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from eve_core.config import RunConfig, load_config
from eve_core.errors import UserError
from pipelines.eve_training.arguments import cluster_arguments, pipeline_arguments

_ROOT = Path(__file__).parents[2]
_STAGE_CALLS = {"transition_model_version_stage", "get_latest_versions", "get_model_version_stages"}
_CONDITION = re.compile(r"pipelinechannel--([\w-]+)")


def compile_pipeline(out: Path, config: RunConfig | None = None, *, minimal: bool = False) -> dict[str, Any]:
    """Compile the DAG to IR YAML.

    Args:
        out: the YAML file to write.
        config: a run with a cluster, whose nodes, volume and secrets the steps then ask for.
        minimal: with the config's settings in it, and few parameters.

    Returns:
        The compiled pipeline, parsed.

    Raises:
        UserError: `out` cannot be written, or the config does not fit a cluster.
    """
    from pipelines.eve_training.pipeline import minimal_pipeline, training_pipeline

    cluster = config.cluster if config else None
    if minimal:
        if config is None:
            raise UserError("the minimal pipeline has a config's settings in it; give one with --config")
        return _compile(minimal_pipeline(cluster_arguments(config), cluster), out)
    return _compile(training_pipeline(cluster), out)


def check_config(path: Path, pipeline: dict[str, Any]) -> None:
    """Hold one config against the compiled pipeline, and its cluster against the nodes that are declared for it.

    Raises:
        UserError: the config is wrong, or the pipeline and the parameters made from it do not fit each other.
    """
    config = load_config(path)
    arguments = pipeline_arguments(config) if config.cluster is None else cluster_arguments(config)
    declared = pipeline["root"]["inputDefinitions"]["parameters"]
    missing, unknown = sorted(set(declared) - set(arguments)), sorted(set(arguments) - set(declared))
    if missing or unknown:
        raise UserError(f"{path}: the pipeline's parameters lack a source ({missing}) or do not exist ({unknown})")
    json.dumps(arguments)  # everything must travel as JSON
    for key, selector in _selectors(config):
        _refuse_unknown_nodes(path, key, selector, config)


def check_pipeline(pipeline: dict[str, Any]) -> None:
    """Look for what runs, but not as it reads.

    Raises:
        UserError: a condition is on a named output, which kfp.local takes for false without a word.
    """
    for name, task in _tasks(pipeline):
        condition = task.get("triggerPolicy", {}).get("condition", "")
        for channel in _CONDITION.findall(condition):
            inputs = task.get("inputs", {}).get("parameters", {}).get(f"pipelinechannel--{channel}", {})
            output = inputs.get("taskOutputParameter", {}).get("outputParameterKey", "Output")
            if output != "Output":
                raise UserError(
                    f"the condition of {name} is on the named output {output}, which kfp.local takes for false; return "
                    "the verdict as the step's single unnamed output"
                )


def check_registry_calls(root: Path = _ROOT) -> None:
    """Look for MLflow's stages, which it deprecated for aliases, and which still work without a word.

    Raises:
        UserError: a call of one, with its place.
    """
    for package in ("eve_core", "components", "pipelines"):
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in _STAGE_CALLS:
                    raise UserError(
                        f"{path.relative_to(root)}:{node.lineno} calls {node.attr}, which is of registry stages; use "
                        "aliases (eve_core.registry.promotion)"
                    )


def node_pools(path: Path) -> dict[str, dict[str, str]]:
    """Labels of every node pool that a YAML file declares, by name.

    Raises:
        UserError: the file is missing or declares none.
    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cluster.node_pools {path} cannot be read ({error}); name the file of the pools") from None
    pools = {
        document["metadata"]["name"]: {str(key): str(value) for key, value in _labels(document).items()}
        for document in documents
        if document.get("kind") == "ContainerNodePool"
    }
    if not pools:
        raise UserError(f"cluster.node_pools {path} declares no ContainerNodePool; name the file of the pools")
    return pools


def _compile(pipeline: Callable[..., Any], out: Path) -> dict[str, Any]:
    from kfp import compiler

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(pipeline, str(out))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another file with --out") from None
    parsed: dict[str, Any] = next(yaml.safe_load_all(out.read_text()))
    return parsed


def _tasks(pipeline: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for graph in (pipeline["root"], *pipeline["components"].values()):
        yield from graph.get("dag", {}).get("tasks", {}).items()


def _selectors(config: RunConfig) -> Iterator[tuple[str, dict[str, str]]]:
    """What a config asks of nodes, by key."""
    if config.cluster is None:
        return
    pool = config.cluster.gpu_pool
    yield "cluster.gpu_pool.node_selector", pool.node_selector
    yield "cluster.gpu_pool.prefer", {**pool.node_selector, **pool.prefer}
    launches = {"pretraining": config.pretraining.launch}
    launches |= {f"tasks.{name}.finetuning": task.finetuning.launch for name, task in config.tasks.items()}
    for key, launch in launches.items():
        if launch.trainjob is not None:
            yield f"{key}.launch.trainjob.node_selector", launch.trainjob.node_selector


def _refuse_unknown_nodes(path: Path, key: str, selector: dict[str, str], config: RunConfig) -> None:
    assert config.cluster is not None
    if config.cluster.node_pools is None or not selector:
        return
    pools = node_pools(config.cluster.node_pools)
    if not any(selector.items() <= labels.items() for labels in pools.values()):
        asked = ", ".join(f"{label}={value}" for label, value in selector.items())
        raise UserError(
            f"{path}: {key} asks for nodes with {asked}, and none of {config.cluster.node_pools} has them "
            f"({', '.join(pools)}); mend either"
        )


def _labels(pool: dict[str, Any]) -> dict[str, Any]:
    """What the scheduler sees on the nodes of a pool; GKE adds two labels of its own."""
    settings = pool["spec"].get("nodeConfig", {})
    labels = dict(settings.get("labels", {}))
    for accelerator in settings.get("guestAccelerator", []):
        labels["cloud.google.com/gke-accelerator"] = accelerator["type"]
    if settings.get("spot"):
        labels["cloud.google.com/gke-spot"] = "true"
    return labels
