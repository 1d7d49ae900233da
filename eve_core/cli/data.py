"""`eve data`: prepare public sets, draw the synthetic world, show what a prepared folder holds."""

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Prepare and look at data sets.", no_args_is_help=True)


@data_app.command()
def prepare(
    set_name: Annotated[
        str | None,
        typer.Argument(metavar="[SET]", help="coco_captions, vqa_v2, nlvr2, flickr8k or flickr30k."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Prepare all sources of this run's YAML and publish them.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of SET's files, laid out as published.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of SET's pictures, when not ROOT/images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Prepared folder that SET is added to.")] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial/--complete",
            help="Leave out and count annotations whose picture is missing or unreadable, or stop at the first.",
        ),
    ] = False,
) -> None:
    """Turn public sets into a prepared folder: either `--config FILE`, or `SET --root DIR --out DIR`."""
    from rich import print as show_rich

    from eve_core.data.summary import summary

    if config is not None and not (set_name or root or images or out):
        from eve_core.config import load_config
        from eve_core.data.prepare import prepare_all
        from eve_core.data.versioning import publish

        run = load_config(config)
        prepared = run.workspace / "prepared"
        show_rich(summary(prepare_all(run.data, prepared, run.workspace)))
        typer.echo(f"data revision {publish(run.data, prepared)}")
    elif config is None and set_name and root and out:
        from eve_core.data.prepare import prepare_set
        from eve_core.data.sources.layout import find_source

        show_rich(summary(prepare_set(find_source(set_name, root, images), out, allow_partial=partial)))
    else:
        raise typer.BadParameter("give either --config FILE, or SET with --root DIR and --out DIR")


@data_app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="Folder for the world; an earlier world in it is replaced.")],
    config: Annotated[Path | None, typer.Option(help="Take the sizes from data.synthetic of this run's YAML.")] = None,
) -> None:
    """Draw the synthetic world in the public sets' own file formats."""
    from eve_core.config import SyntheticWorldConfig, load_config
    from eve_core.data.synthetic.world import draw_world

    sizes = load_config(config).data.synthetic if config else None
    draw_world(sizes or SyntheticWorldConfig(), out)


@data_app.command()
def show(
    prepared: Annotated[Path, typer.Argument(metavar="DIR", help="A prepared folder.")],
    verify: Annotated[bool, typer.Option("--verify", help="Also compare every shard with its sha256.")] = False,
) -> None:
    """Show the sets, splits and rows of a prepared folder, and what was left out of it."""
    from rich import print as show_rich

    from eve_core.data.prepared import PreparedData
    from eve_core.data.summary import summary

    show_rich(summary(PreparedData.open(prepared, verify=verify).manifest))
