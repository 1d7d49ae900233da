"""`eve convert-official`: an official checkpoint becomes a `from_pretrained` folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from eve_core.model import EveConfig


def convert_official(
    checkpoint: Annotated[Path, typer.Argument(help=".pth, .pt, .bin (tensors alone are read) or .safetensors.")],
    config: Annotated[Path, typer.Option(help="The network's official config json.")],
    task: Annotated[str, typer.Option(help="vqa, nlvr2, retrieval, or backbone: the encoder without a head.")],
    out: Annotated[Path, typer.Option(help="Folder to write; there must be nothing in it.")],
    image_size: Annotated[
        int | None, typer.Option(help="Interpolate the patch positions to pictures of this side in pixels.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="For vqa, a file of the answers (.json, .txt), in the order of the head's rows.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Its tokenizer.json, vocab.txt, vocab.json with merges.txt, or a folder with one of these."),
    ] = None,
    official_routing: Annotated[
        bool, typer.Option("--official-routing", help="Drop tokens over the experts' capacity, as the official code.")
    ] = False,
    capacity_factor: Annotated[
        float | None, typer.Option(min=0.0, help="Of --official-routing; 1 when it is not given.")
    ] = None,
) -> None:
    """Convert an official EVE checkpoint; every key and every shape is checked."""
    from eve_core.data.staging import staged_folder
    from eve_core.errors import UserError
    from eve_core.model.official import convert, preprocessor_for, read_checkpoint
    from eve_core.tasks.answers import read_answers

    if capacity_factor is not None and not official_routing:
        raise typer.BadParameter("--capacity-factor is of --official-routing; give both")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"the output {out} is not an empty folder; choose another one")
    conversion = convert(
        read_checkpoint(checkpoint),
        _read_config(config),
        task,
        image_size=image_size,
        answers=None if answers is None else read_answers(answers),
        official_routing=official_routing,
        capacity_factor=1.0 if capacity_factor is None else capacity_factor,
    )
    model = conversion.model
    preprocessor = None if tokenizer is None else preprocessor_for(model.config, tokenizer)
    with staged_folder(out, "config.json") as folder:
        model.save_pretrained(folder)
        if preprocessor is not None:
            preprocessor.save(folder)
    typer.echo(f"wrote {out}: {type(model).__name__}, {model.num_parameters():,} parameters")
    typer.echo(_sizes(model.config))
    typer.echo(f"ignored keys: {', '.join(conversion.ignored) or 'none'}")
    if preprocessor is None:
        typer.echo("There is no tokenizer in it, without which it cannot read texts; give --tokenizer PATH.")
    else:
        ids = len(preprocessor.tokenizer)
        typer.echo(f"tokenizer of {ids:,} ids for {model.config.vocab_size:,} rows of word embeddings")


def _read_config(path: Path) -> Any:
    import json

    from eve_core.errors import UserError, existing_file

    text = existing_file(path, "the official config").read_bytes()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"the official config {path} is not valid JSON ({error}); copy it again") from None
    if not isinstance(value, dict):
        raise UserError(f"the official config {path} holds no JSON object; give the right file")
    return value


def _sizes(config: "EveConfig") -> str:
    soft = [str(index) for index, kind in enumerate(config.ffn_types) if kind == "soft"]
    experts = f"{config.num_experts} experts in blocks {', '.join(soft)} (from 0)" if soft else "no experts"
    return (
        f"{config.num_hidden_layers} blocks of width {config.hidden_size}, {experts}; "
        f"pictures of {config.image_size} px in patches of {config.patch_size}, "
        f"texts of at most {config.max_text_length} tokens, vocabulary of {config.vocab_size:,}"
    )
