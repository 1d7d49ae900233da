"""`eve score`, `eve predict` and `eve gate`."""

from pathlib import Path
from typing import Annotated

import typer

_Task = Annotated[str, typer.Argument(help="vqa, nlvr2 or retrieval.")]


def score(
    task: _Task,
    predictions: Annotated[Path, typer.Option(help="Result file (.gz too).")],
    annotations: Annotated[Path, typer.Option(help="The right answers, as the public set has them (.gz too).")],
    split: Annotated[str | None, typer.Option(help="Split of a Karpathy file; test when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a result file as the official evaluation of the task does."""
    import json

    from rich.console import Console
    from rich.table import Table

    from eve_core.evaluation.result_files import score_file

    metrics = score_file(task, predictions, annotations, split=split)
    if as_json:
        typer.echo(json.dumps(metrics, indent=2))
        return
    table = Table("metric", "value")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def predict(
    task: _Task,
    model: Annotated[Path, typer.Option(help="Folder of a fine-tuned model.")],
    prepared: Annotated[Path, typer.Option(help="Prepared data.")],
    split: Annotated[str, typer.Option(help="Split of the task's set to answer, such as test-dev2015 or test1.")],
    out: Annotated[Path, typer.Option(help="Result file to write.")],
    batch_size: Annotated[int, typer.Option(help="Examples at a time.")] = 64,
) -> None:
    """Answer a split and write the result file that the evaluation server of VQA or NLVR2 takes."""
    from eve_core.evaluation.predicting import predict_split

    written = predict_split(task, model, prepared, split, out, batch_size=batch_size)
    typer.echo(f"{written:,} answers are in {out}")


def gate(
    task: _Task,
    scores: Annotated[Path, typer.Argument(help="Folder that the evaluation step wrote.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Blessing to write (.json), with a page beside it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the gate would decide.")] = False,
) -> None:
    """Judge stored scores by the gate of a config."""
    from rich.console import Console
    from rich.table import Table

    from eve_core.config.run import load_config
    from eve_core.errors import UserError
    from eve_core.evaluation.blessing import write_blessing
    from eve_core.evaluation.gate import decide, read_scores
    from eve_core.report.model_page import write_model_page
    from pipelines.eve_training.arguments import git_revision

    if (out is None) != dry_run:
        raise UserError("give either --out for the blessing, or --dry-run")
    run = load_config(config)
    found = read_scores(scores)
    judged = next((name for name in run.tasks if name == task == found.task), None)
    if judged is None:
        raise UserError(
            f"{scores} has scores of {found.task}, and the run has {', '.join(run.tasks)}; name one of both"
        )
    asked = run.tasks[judged].data.evaluate.name
    if found.scored_on != (asked,):
        raise UserError(
            f"{scores} has scores on {', '.join(found.scored_on)}, and the run is judged on {asked}; evaluate on that"
        )
    slices = run.tasks[judged].evaluation.slices
    verdict = decide(found, run.gate_of(judged), slices, code_revision=git_revision())
    table = Table("check", "outcome", "")
    for check in verdict.checks:
        table.add_row(check.name, check.sentence, "holds" if check.passed else "[red]refused[/red]")
    Console().print(table)
    typer.echo(f"{task}: {'blessed' if verdict.blessed else 'refused'}")
    if out is not None:
        write_blessing(verdict, out)
        write_model_page(verdict, out.with_suffix(".html"), scores / "figures")
    raise typer.Exit(0 if verdict.blessed else 1)
