"""Decide whether a candidate may be registered."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def gate(
    task: str,
    settings: str,
    evaluation: str,
    git_revision: str,
    scores: dsl.Input[dsl.Artifact],
    run: dict,
    blessing: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> bool:
    """Bless or refuse, with every reason. Never cached.

    Args:
        task: vqa, nlvr2 or retrieval.
        settings: GateConfig as JSON.
        evaluation: EvaluationConfig as JSON, for its slices.
        git_revision: commit of the code.
        scores: what evaluate wrote.
        run: RunSettings.
        blessing: the verdict as a JSON file.
        page: the same for people.

    Returns:
        Whether the candidate is blessed.
    """
    import json
    from pathlib import Path

    from components.step import step
    from eve_core.config import EvaluationConfig, GateConfig
    from eve_core.evaluation.blessing import write_blessing
    from eve_core.evaluation.gate import decide, read_scores
    from eve_core.report.model_page import write_model_page

    with step(f"gate-{task}", run, inputs=[scores.path], params=json.loads(settings)) as current:
        slices = EvaluationConfig.model_validate_json(evaluation).slices
        gate_config = GateConfig.model_validate_json(settings)
        verdict = decide(read_scores(Path(scores.path)), gate_config, slices, code_revision=git_revision)
        write_blessing(verdict, Path(blessing.path))
        write_model_page(verdict, Path(page.path), Path(scores.path) / "figures")
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
        current.run.log_page(page.path, "model")
    return verdict.blessed
