"""The DAG: data, pre-training, and for each task fine-tuning, scoring, gate, registration and promotion.

The shape is the one that runs alike in a subprocess, in Docker and on Kubeflow: an exit handler around a loop over
tasks around one nested pipeline a task, whose gate returns a single unnamed bool.
"""

from kfp import dsl

from components.data_processing.fetch_data.component import fetch_data
from components.data_processing.resolve_data.component import resolve_data
from components.data_processing.validate_data.component import validate_data
from components.deployment.promote.component import promote
from components.deployment.register.component import register
from components.deployment.report.component import report
from components.evaluation.evaluate.component import evaluate
from components.evaluation.find_baseline.component import find_baseline
from components.evaluation.gate.component import gate
from components.training.finetune.component import finetune
from components.training.pretrain.component import pretrain


def never_cached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """For steps that look at a moving thing (a branch, the champion) or act on the registry."""
    return task.set_caching_options(False)


@dsl.pipeline(name="eve-task")
def eve_task(
    task: str,
    task_data: str,
    finetuning: str,
    evaluation: str,
    gate_settings: str,
    pretraining: dict,
    git_revision: str,
    run: dict,
    prepared: dsl.Input[dsl.Dataset],
    validated: dsl.Input[dsl.Artifact],
    pretrained: dsl.Input[dsl.Model],
) -> None:
    """One downstream task, from the pre-trained model to the champion."""
    finetuned = finetune(
        task=task,
        task_data=task_data,
        finetuning=finetuning,
        prepared=prepared,
        validated=validated,
        pretrained=pretrained,
        run=run,
    )
    candidate = finetuned.outputs["checkpoint"]
    baseline = never_cached(find_baseline(task=task, candidate=candidate, run=run))
    scored = evaluate(
        task=task,
        task_data=task_data,
        evaluation=evaluation,
        pretraining=pretraining,
        baseline=baseline.output,
        prepared=prepared,
        validated=validated,
        candidate=candidate,
        run=run,
    )
    verdict = never_cached(
        gate(
            task=task,
            settings=gate_settings,
            evaluation=evaluation,
            git_revision=git_revision,
            scores=scored.outputs["scores"],
            run=run,
        )
    )
    with dsl.If(verdict.outputs["Output"] == True, name="blessed"):  # noqa: E712 (kfp compares, not Python)
        version = never_cached(
            register(
                task=task,
                checkpoint=candidate,
                blessing=verdict.outputs["blessing"],
                scores=scored.outputs["scores"],
                run=run,
            )
        )
        never_cached(promote(task=task, version=version.output, run=run))


@dsl.pipeline(name="eve-training", description="EVE: pre-train, fine-tune, gate and promote.")
def eve_training(
    run: dict,
    config: dict,
    data: dict,
    validation: dict,
    tokenizer: dict,
    model: dict,
    pretraining: dict,
    tasks: list,
    git_revision: str,
) -> None:
    """The whole workflow; `pipelines.eve_training.arguments` makes the parameters from a config."""
    with dsl.ExitHandler(never_cached(report(run=run)), name="workflow"):
        commit = never_cached(resolve_data(data=data, run=run, config=config, git_revision=git_revision))
        fetched = fetch_data(data=data, commit=commit.output, run=run)
        prepared = fetched.outputs["prepared"]
        validated = validate_data(prepared=prepared, validation=validation, run=run).outputs["report"]
        pretrained = pretrain(
            prepared=prepared,
            validated=validated,
            pretraining=pretraining,
            model=model,
            tokenizer=tokenizer,
            run=run,
        )
        with dsl.ParallelFor(tasks, name="tasks") as item:
            eve_task(
                task=item.target,
                task_data=item.data,
                finetuning=item.finetuning,
                evaluation=item.evaluation,
                gate_settings=item.gate,
                pretraining=pretraining,
                git_revision=git_revision,
                run=run,
                prepared=prepared,
                validated=validated,
                pretrained=pretrained.outputs["pretrained"],
            )
