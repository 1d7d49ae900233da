"""`eve`: the command line. One module a group of verbs; none has logic of its own."""

import sys

import typer

from eve_core.cli.data import data_app
from eve_core.cli.evaluation import gate, predict, score
from eve_core.cli.model import convert_official
from eve_core.cli.pipeline import check, compile_command, logs, plan, run, status, submit, terminate
from eve_core.cli.registry import champion_app, check_serving, promote, rollback
from eve_core.cli.schedule import retrain, schedule_app
from eve_core.cli.vocabulary import answers, tokenizer

app = typer.Typer(
    help="EVE: pre-train, fine-tune, gate and promote a vision-language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(retrain)
app.command()(plan)
app.command()(check)
app.command(name="compile")(compile_command)
app.command()(submit)
app.command()(status)
app.command()(terminate)
app.command()(logs)
data_app.command()(answers)
data_app.command()(tokenizer)
app.add_typer(data_app, name="data")
app.add_typer(champion_app, name="champion")
app.add_typer(schedule_app, name="schedule")
app.command()(score)
app.command()(predict)
app.command()(gate)
app.command()(promote)
app.command()(rollback)
app.command()(check_serving)
app.command()(convert_official)


def main() -> None:
    """Entry point: a user's mistake is one sentence and status 1, a defect keeps its traceback."""
    from eve_core.errors import UserError, explain, is_from_mlflow
    from eve_core.processes import end_without_collection

    end_without_collection()
    try:
        app()
    except Exception as error:
        of_the_system = isinstance(error, OSError) and error.errno is not None
        if not (isinstance(error, UserError) or of_the_system or is_from_mlflow(error)):
            raise
        print(f"error: {explain(error, 'eve')}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
