"""Promote a registered version to champion."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def promote(task: str, version: str, run: dict) -> bool:
    """Check that the version serves and move the champion alias; a champion stays it. Never cached.

    Where the registry asks for somebody's approval, the version stays a candidate, which waits for it.

    Args:
        task: vqa, nlvr2 or retrieval.
        version: the version's number.
        run: RunSettings.

    Returns:
        Whether the champion changed.
    """
    from components.step import pipeline_run_key, step
    from eve_core.registry.promotion import champion as find_champion
    from eve_core.registry.promotion import promote as promote_version
    from eve_core.registry.tracking import APPROVAL_TAG, CHANGED_TAG
    from eve_core.registry.versions import registered_version

    with step(f"promote-{task}", run) as current:
        champion = find_champion(current.settings.registry, task)
        made_from = registered_version(current.settings.registry, task, version)
        current.reads(made_from.data_revision, made_from.data_digest)
        changed, awaits = False, champion is None or champion.model_digest != made_from.model_digest
        if current.settings.registry.approval and awaits:
            current.run.set_tags({APPROVAL_TAG: version})
        else:
            reason = f"blessed in pipeline run {pipeline_run_key()}"
            changed = promote_version(current.settings.registry, task=task, version=version, reason=reason).changed
        current.run.set_tags({"eve.task": task, "eve.version": version, CHANGED_TAG: str(changed).lower()})
    return changed
