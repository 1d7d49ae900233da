"""Find the champion that a candidate has to beat."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def find_baseline(task: str, candidate: dsl.Input[dsl.Model], run: dict) -> dict:
    """Look up the champion; of a candidate that is champion already, the one it was promoted over. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        candidate: the fine-tuned model.
        run: RunSettings.

    Returns:
        Its `version` in the registry and its `model_digest`; empty when there is none.
    """
    from pathlib import Path

    from components.step import step
    from eve_core.model_digest import model_digest
    from eve_core.registry.promotion import baseline_for

    with step(f"find-baseline-{task}", run, inputs=[candidate.path]) as current:
        champion = baseline_for(current.settings.registry, task, model_digest(Path(candidate.path)))
        current.run.set_tags({"eve.baseline": champion.version if champion else "none"})
    return {"version": champion.version, "model_digest": champion.model_digest} if champion else {}
