"""Decide whether a candidate may be registered."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def gate(
    task: str,
    settings: str,
    git_revision: str,
    scores: dsl.Input[dsl.Artifact],
    run: dict,
    blessing: dsl.Output[dsl.Artifact],
) -> bool:
    """Bless or refuse, with every reason. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        settings: GateConfig as JSON.
        git_revision: commit of the code.
        scores: what evaluate wrote.
        run: RunSettings.
        blessing: the verdict as a JSON file.

    Returns:
        Whether the candidate is blessed.
    """
    import json
    from pathlib import Path

    from components.step import step
    from eve_core.config import GateConfig
    from eve_core.evaluation.blessing import write_blessing
    from eve_core.evaluation.gate import decide, read_scores

    with step(f"gate-{task}", run, inputs=[scores.path], params=json.loads(settings)) as current:
        verdict = decide(
            read_scores(Path(scores.path)), GateConfig.model_validate_json(settings), code_revision=git_revision
        )
        write_blessing(verdict, Path(blessing.path))
        current.run.set_tags(
            {
                "eve.task": task,
                "eve.blessed": str(verdict.blessed).lower(),
                "eve.data_revision": verdict.data_revision,
                "eve.data_digest": verdict.data_digest,
                "eve.git_revision": git_revision,
            }
        )
        current.run.log_artifact(blessing.path)
    return verdict.blessed
