"""The DAG: data, pre-training, and for each task fine-tuning, scoring, gate, registration and promotion.

The shape is the one that runs alike in a subprocess, in Docker and on Kubeflow: an exit handler around a loop over
tasks around one nested pipeline a task, whose gate returns a single unnamed bool.
"""

from collections.abc import Callable
from typing import Any

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
from eve_core.config import ClusterConfig
from pipelines.eve_training.placement import Kind, place

NAME = "eve-training"


def training_pipeline(cluster: ClusterConfig | None = None) -> Callable[..., Any]:
    """The pipeline; `pipelines.eve_training.arguments` makes its parameters from a config.

    Args:
        cluster: what its steps ask of a cluster; None to run it on this machine.
    """
    workflow = _workflow(cluster)

    @dsl.pipeline(name=NAME, description="EVE: pre-train, fine-tune, gate and promote.")
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
        workflow(run, config, data, validation, tokenizer, model, pretraining, tasks, git_revision, revision="")

    return eve_training


def minimal_pipeline(arguments: dict[str, Any], cluster: ClusterConfig | None = None) -> Callable[..., Any]:
    """The same pipeline with a config's settings in it, to be started from a form.

    Args:
        arguments: what `training_pipeline` takes.
        cluster: see there.
    """
    workflow = _workflow(cluster)
    settings = {name: value for name, value in arguments.items() if name != "tasks"}

    @dsl.pipeline(name=f"{NAME}-minimal", description="EVE with the settings of one config, for a data revision.")
    def eve_training_minimal(revision: str = "", tasks: list = arguments["tasks"]) -> None:
        workflow(**settings, tasks=tasks, revision=revision)

    return eve_training_minimal


def _workflow(cluster: ClusterConfig | None) -> Callable[..., None]:
    """What both pipelines consist of."""

    def placed(task: dsl.PipelineTask, kind: Kind = "data") -> dsl.PipelineTask:
        if cluster is not None and not cluster.caching:
            task.set_caching_options(False)
        return place(task, kind, cluster)

    def never_cached(task: dsl.PipelineTask, kind: Kind = "data") -> dsl.PipelineTask:
        """For steps that look at a moving thing (a branch, the champion) or act on the registry."""
        return placed(task, kind).set_caching_options(False)

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
        finetuned = placed(
            finetune(
                task=task,
                task_data=task_data,
                finetuning=finetuning,
                prepared=prepared,
                validated=validated,
                pretrained=pretrained,
                run=run,
            ),
            "finetune",
        )
        candidate = finetuned.outputs["checkpoint"]
        baseline = never_cached(find_baseline(task=task, candidate=candidate, run=run))
        scored = placed(
            evaluate(
                task=task,
                task_data=task_data,
                evaluation=evaluation,
                pretraining=pretraining,
                baseline=baseline.output,
                prepared=prepared,
                validated=validated,
                candidate=candidate,
                run=run,
            ),
            "evaluate",
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
                ),
                "evaluate",
            )
            never_cached(promote(task=task, version=version.output, run=run), "evaluate")

    def workflow(
        run: Any,
        config: Any,
        data: Any,
        validation: Any,
        tokenizer: Any,
        model: Any,
        pretraining: Any,
        tasks: Any,
        git_revision: Any,
        revision: Any,
    ) -> None:
        """Every argument is a value, or a parameter of the pipeline."""
        with dsl.ExitHandler(never_cached(report(run=run, config=config)), name="workflow"):
            commit = never_cached(
                resolve_data(data=data, revision=revision, run=run, config=config, git_revision=git_revision)
            )
            fetched = placed(fetch_data(data=data, commit=commit.output, run=run))
            prepared = fetched.outputs["prepared"]
            checked = placed(validate_data(prepared=prepared, validation=validation, run=run))
            validated = checked.outputs["report"]
            pretrained = placed(
                pretrain(
                    prepared=prepared,
                    validated=validated,
                    pretraining=pretraining,
                    model=model,
                    tokenizer=tokenizer,
                    run=run,
                ),
                "pretrain",
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

    return workflow
