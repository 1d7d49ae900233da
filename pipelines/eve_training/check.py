"""What can be known before anything runs: that the pipeline compiles and that every config fits it."""

import json
from pathlib import Path
from typing import Any

from eve_core.config import load_config
from eve_core.errors import UserError
from pipelines.eve_training.arguments import pipeline_arguments


def compile_pipeline(out: Path) -> dict[str, Any]:
    """Compile the DAG to IR YAML.

    Args:
        out: the YAML file to write.

    Returns:
        The compiled pipeline, parsed.

    Raises:
        UserError: `out` cannot be written.
    """
    import yaml
    from kfp import compiler

    from pipelines.eve_training.pipeline import eve_training

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(eve_training, str(out))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another file with --out") from None
    parsed: dict[str, Any] = next(yaml.safe_load_all(out.read_text()))
    return parsed


def check_config(path: Path, pipeline: dict[str, Any]) -> None:
    """Hold one config against the compiled pipeline.

    Raises:
        UserError: the config is wrong, or the pipeline and the parameters made from it do not fit each other.
    """
    arguments = pipeline_arguments(load_config(path))
    declared = pipeline["root"]["inputDefinitions"]["parameters"]
    missing, unknown = sorted(set(declared) - set(arguments)), sorted(set(arguments) - set(declared))
    if missing or unknown:
        raise UserError(f"{path}: the pipeline's parameters lack a source ({missing}) or do not exist ({unknown})")
    json.dumps(arguments)  # everything must travel as JSON
