"""Register a blessed model."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def register(task: str, checkpoint: dsl.Input[dsl.Model], blessing: dsl.Input[dsl.Artifact], run: dict) -> str:
    """Make the checkpoint a version of the task's registered model; the blessing must be its own. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        checkpoint: the fine-tuned model.
        blessing: the gate's verdict on it.
        run: RunSettings.

    Returns:
        The version.
    """
    from pathlib import Path

    from components.step import step
    from eve_core.registry.models import register as register_version

    with step(f"register-{task}", run, inputs=[checkpoint.path]) as current:
        return register_version(
            current.settings.registry, current.run, task=task, checkpoint=Path(checkpoint.path), blessing=Path(blessing.path)
        )
