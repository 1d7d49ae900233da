"""Pre-train."""

from kfp import dsl

from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def pretrain(  # type: ignore[no-untyped-def]
    prepared: dsl.Input[dsl.Dataset],
    validated: dsl.Input[dsl.Artifact],
    pretraining: dict,
    model: dict,
    tokenizer: dict,
    run: dict,
    pretrained: dsl.Output[dsl.Model],
):
    """Train tokenizer and model on masked signals; an interrupted step goes on from its last checkpoint.

    Args:
        prepared: the data set.
        validated: report of its validation, with the rows that were set apart.
        pretraining: PretrainingConfig.
        model: ModelConfig.
        tokenizer: TokenizerConfig.
        run: RunSettings.
        pretrained: the model, a `from_pretrained` folder.
    """
    from pathlib import Path

    from components.step import step
    from eve_core.config import PretrainingConfig
    from eve_core.data.versioning.location import open_noted
    from eve_core.evaluation.figures import pretraining_figures
    from eve_core.training import TrainingJob, launch, without_incidentals

    given = {"pretraining": pretraining, "model": model, "tokenizer": tokenizer}
    sources = [prepared.path, validated.path]
    with step("pretrain", run, inputs=sources, outputs=[pretrained.path], params=given) as current:
        data = open_noted(prepared.path, validated.path)
        config = PretrainingConfig.model_validate(pretraining)
        key = {**given, "pretraining": without_incidentals(config)}
        scratch = current.scratch(data.digest, data.quarantine_digest, key)
        job = TrainingJob(
            task=None,
            prepared=str(data.path),
            validated=validated.path,
            settings=given,
            pretrained=None,
            out=pretrained.path,
            scratch=str(scratch),
            seed=current.settings.seed,
        )
        launch(job, config.launch, current.run.log_metrics, current.run.log_artifact)
        current.run.log_artifact(pretraining_figures(data, config, Path(pretrained.path)))
