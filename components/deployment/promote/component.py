"""Promote a registered version to champion."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def promote(task: str, version: str, run: dict) -> bool:
    """Check that the version serves and move the champion alias; a champion stays it. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        version: the version's number.
        run: RunSettings.

    Returns:
        Whether the champion changed.
    """
    from components.step import pipeline_run_key, step
    from eve_core.registry.promotion import promote as promote_version
    from eve_core.registry.tracking import CHANGED_TAG
    from eve_core.registry.versions import registered_version

    with step(f"promote-{task}", run) as current:
        made_from = registered_version(current.settings.registry, task, version)
        current.reads(made_from.data_revision, made_from.data_digest)
        reason = f"blessed in pipeline run {pipeline_run_key()}"
        promotion = promote_version(current.settings.registry, task=task, version=version, reason=reason)
        current.run.set_tags({"eve.task": task, "eve.version": version, CHANGED_TAG: str(promotion.changed).lower()})
    return promotion.changed
