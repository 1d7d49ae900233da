"""Score the candidate, and the champion beside it."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def evaluate(  # type: ignore[no-untyped-def]
    task: str,
    task_data: str,
    evaluation: str,
    pretraining: dict,
    baseline: dict,
    prepared: dsl.Input[dsl.Dataset],
    validated: dsl.Input[dsl.Artifact],
    candidate: dsl.Input[dsl.Model],
    run: dict,
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Score both on the same held-out items in the same step.

    Args:
        task: vqa, nlvr2 or retrieval.
        task_data: TaskDataConfig as JSON.
        evaluation: EvaluationConfig as JSON.
        pretraining: PretrainingConfig, whose data must not show the test.
        baseline: the champion's version and model_digest; empty when there is none.
        prepared: the data set, with its revision in the metadata.
        validated: report of its validation, with the rows that were set apart.
        candidate: the fine-tuned model.
        run: RunSettings.
        scores: folder with scores.json, items.parquet, requests.parquet and figures.
        metrics: the candidate's metrics.
    """
    import json
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from components.step import share_cores, step
    from eve_core.config import EvaluationConfig, PretrainingConfig, TaskDataConfig
    from eve_core.data.versioning.location import open_noted
    from eve_core.errors import UserError
    from eve_core.evaluation.figures import task_figures
    from eve_core.evaluation.scoring import ITEMS_FILE, SCORES_FILE, score
    from eve_core.registry.versions import download_checkpoint, registered_version

    share_cores()
    given = {"task_data": json.loads(task_data), "evaluation": json.loads(evaluation), "baseline": baseline}
    sources = [prepared.path, validated.path, candidate.path]
    with (
        step(f"evaluate-{task}", run, inputs=sources, outputs=[scores.path], params=given) as current,
        TemporaryDirectory(prefix="eve-champion-") as downloads,
    ):
        registry = current.settings.registry
        champion = registered_version(registry, task, baseline["version"]) if baseline else None
        if champion is not None and champion.model_digest != baseline["model_digest"]:
            raise UserError(f"{champion.uri} is not the model that was looked up; start the run again")
        data = open_noted(prepared.path, validated.path)
        found = score(
            data,
            task,
            TaskDataConfig.model_validate_json(task_data),
            EvaluationConfig.model_validate_json(evaluation),
            Path(candidate.path),
            Path(scores.path),
            data_revision=prepared.metadata["revision"],
            pretrained_on=PretrainingConfig.model_validate(pretraining).data,
            champion=download_checkpoint(registry, champion, downloads) if champion else None,
            champion_version=champion.version if champion else None,
        )
        current.run.log_metrics(found)
        current.run.log_artifact(Path(scores.path) / SCORES_FILE)
        current.run.log_artifact(Path(scores.path) / ITEMS_FILE)
        current.run.log_artifact(task_figures(data, task, Path(scores.path)))
        for name, value in found.items():
            metrics.log_metric(name, value)
        Path(metrics.path).write_text(json.dumps(found))  # without a file the local runner would not reuse the step
