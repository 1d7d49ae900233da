"""Register a blessed model."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def register(
    task: str,
    checkpoint: dsl.Input[dsl.Model],
    blessing: dsl.Input[dsl.Artifact],
    scores: dsl.Input[dsl.Artifact],
    run: dict,
) -> str:
    """Make the checkpoint a version of the task's registered model; the blessing must be its own. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        checkpoint: the fine-tuned model.
        blessing: the gate's verdict on it.
        scores: what evaluate wrote, for the requests that it was asked.
        run: RunSettings.

    Returns:
        The version's number.
    """
    from pathlib import Path

    from components.step import pipeline_run_key, told
    from eve_core.config import RunSettings
    from eve_core.evaluation.served import REQUESTS_FILE
    from eve_core.registry.models import register as register_version

    registry = RunSettings.model_validate(run).registry
    with told(f"register-{task}"):
        return register_version(
            registry,
            task=task,
            checkpoint=Path(checkpoint.path),
            blessing=Path(blessing.path),
            requests=Path(scores.path) / REQUESTS_FILE,
            run_key=pipeline_run_key(),
        )
