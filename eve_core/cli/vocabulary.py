"""`eve data answers` and `eve data tokenizer`: what a run's models choose their answers from and read texts with."""

from pathlib import Path
from typing import Annotated

import typer


def answers(
    config: Annotated[
        Path | None, typer.Option(help="Make or read the answers as this run does, from its prepared data.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="Make them from these official annotations files; once for each file.")
    ] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="Questions that an answer needs; 9 or the run's when it is not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers to this .json file.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Compare them with the answers in this file.")] = None,
) -> None:
    """Show the answer vocabulary of visual question answering and what it covers: --config or --annotations."""
    import pyarrow as pa
    from rich import print as show_rich

    from eve_core.config import load_config
    from eve_core.tasks.answer_coverage import coverage, describe_coverage, describe_difference, questions_of_run
    from eve_core.tasks.answers import answer_vocabulary, read_annotations, read_answers, write_answers
    from eve_core.tasks.vqa import VqaTask

    if config is not None and not annotations:
        run = load_config(config)
        questions = questions_of_run(run)
        settings = run.tasks["vqa"].finetuning
        if min_count is not None:
            settings = settings.model_copy(update={"min_answer_count": min_count, "answers": None})
        vocabulary = VqaTask().labels(next(iter(questions.values())), settings)
    elif config is None and annotations:
        questions = {path.name: read_annotations(path) for path in annotations}
        vocabulary = answer_vocabulary(pa.concat_tables(questions.values()), min_count or 9)
    else:
        raise typer.BadParameter("give either --config FILE, or --annotations FILE once for each file")
    typer.echo(f"{len(vocabulary):,} answers")
    show_rich(describe_coverage({name: coverage(rows, vocabulary) for name, rows in questions.items()}))
    if compare is not None:
        others = read_answers(compare)
        typer.echo(describe_difference(vocabulary, others))
        typer.echo(f"coverage of {compare}:")
        show_rich(describe_coverage({name: coverage(rows, others) for name, rows in questions.items()}))
    if out is not None:
        write_answers(vocabulary, out)
        typer.echo(f"wrote {out}")


def tokenizer(
    config: Annotated[Path, typer.Option(help="The run's YAML file; its prepared data is read.")],
    out: Annotated[Path, typer.Option(help="Folder for the tokenizer; an earlier one in it is replaced.")],
) -> None:
    """Train or import the run's tokenizer, save it, and show how long its texts become."""
    from rich import print as show_rich

    from eve_core.config import load_config
    from eve_core.data.prepared import PreparedData
    from eve_core.data.selection import split_rows
    from eve_core.data.staging import staged_folder
    from eve_core.data.tokenizer import Texts, make_tokenizer
    from eve_core.data.tokenizer.statistics import describe, token_statistics
    from eve_core.training.pretraining import network_config

    run = load_config(config)
    data = PreparedData.open(run.workspace / "prepared")
    splits = [*run.pretraining.data, *run.tokenizer.data]
    tables = {f"{split.set} {', '.join(split.splits)}": split_rows(data, split) for split in splits}
    max_length = network_config(run.pretraining, run.model).max_text_length
    made = make_tokenizer(run.tokenizer, [*tables.values()], max_length)
    with staged_folder(out, "tokenizer.json") as folder:
        made.save_pretrained(folder)
    measured = {name: token_statistics(made, Texts(table), f"measuring {name}") for name, table in tables.items()}
    show_rich(describe(made, measured))
    typer.echo(f"wrote {out}; set tokenizer.path to it to use it in a run")
