"""Fine-tune for one task."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def finetune(  # type: ignore[no-untyped-def]
    task: str,
    task_data: str,
    finetuning: str,
    prepared: dsl.Input[dsl.Dataset],
    validated: dsl.Input[dsl.Artifact],
    pretrained: dsl.Input[dsl.Model],
    run: dict,
    checkpoint: dsl.Output[dsl.Model],
):
    """Fine-tune the pre-trained model; an interrupted step goes on from its last checkpoint.

    Args:
        task: vqa, nlvr2 or retrieval.
        task_data: TaskDataConfig as JSON.
        finetuning: FinetuningConfig as JSON.
        prepared: the data set.
        validated: report of its validation, with the rows that were set apart.
        pretrained: the pre-trained model.
        run: RunSettings.
        checkpoint: the fine-tuned model, a `from_pretrained` folder.
    """
    import json
    from pathlib import Path

    from components.step import share_cores, step
    from eve_core.config import FinetuningConfig
    from eve_core.data.versioning.location import open_noted
    from eve_core.evaluation.figures import training_figure
    from eve_core.model_digest import model_digest
    from eve_core.training import TrainingJob, launch, without_incidentals

    share_cores()
    given = {"task_data": json.loads(task_data), "finetuning": json.loads(finetuning)}
    sources = [prepared.path, validated.path, pretrained.path]
    with step(f"finetune-{task}", run, inputs=sources, outputs=[checkpoint.path], params=given) as current:
        data = open_noted(prepared.path, validated.path)
        config = FinetuningConfig.model_validate(given["finetuning"])
        key = {**given, "finetuning": without_incidentals(config)}
        scratch = current.scratch(data.digest, data.quarantine_digest, model_digest(pretrained.path), key)
        job = TrainingJob(
            task=task,
            prepared=str(data.path),
            validated=validated.path,
            settings=given,
            pretrained=pretrained.path,
            out=checkpoint.path,
            scratch=str(scratch),
            seed=current.settings.seed,
        )
        launch(job, config.launch, current.run.log_metrics, current.run.log_artifact)
        current.run.log_artifact(training_figure(Path(checkpoint.path)))
