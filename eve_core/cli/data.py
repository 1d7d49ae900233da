"""`eve data`: prepare public sets, draw the synthetic world, show prepared folders, and keep revisions of them."""

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Prepare and look at data sets.", no_args_is_help=True)


@data_app.command()
def prepare(
    set_name: Annotated[
        str | None,
        typer.Argument(metavar="[SET]", help="coco_captions, visual_genome, sbu, cc3m, vqa_v2, nlvr2, flickr30k ..."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Prepare all sources of this run's YAML and publish them.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of SET's files, laid out as published.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of SET's pictures, when not ROOT/images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Prepared folder that SET is added to.")] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial",
            help="Accept a part of SET, and put records without picture or proper form into quarantine.",
        ),
    ] = False,
    short_side: Annotated[
        int | None, typer.Option(min=32, help="Store larger pictures as JPEGs with this short side.")
    ] = None,
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

        source = find_source(set_name, root, images)
        show_rich(summary(prepare_set(source, out, allow_partial=allow_partial, short_side=short_side)))
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
    """Show the sets, splits and rows of a prepared folder, and what is in quarantine."""
    from rich import print as show_rich

    from eve_core.data.prepared import PreparedData
    from eve_core.data.summary import summary

    show_rich(summary(PreparedData.open(prepared, verify=verify).manifest))


@data_app.command()
def push(config: Annotated[Path, typer.Option(help="The run's YAML.")]) -> None:
    """Upload the run's data revision to its remote, as far as it is not there."""
    from eve_core.config import load_config
    from eve_core.data import versioning

    data = load_config(config).data
    revision = versioning.resolve_revision(data)
    pushed = versioning.push(revision, data.remote)
    typer.echo(f"pushed {pushed} files of {revision}" if pushed else f"nothing to push: the remote has {revision}")


@data_app.command()
def pull(
    config: Annotated[Path, typer.Option(help="The run's YAML.")],
    out: Annotated[Path, typer.Option(help="Folder for the prepared data; another revision in it is replaced.")],
    revision: Annotated[str | None, typer.Option(help="A commit, tag or branch, when not the run's own.")] = None,
) -> None:
    """Bring a revision of the prepared data into a folder, and compare every shard with its sha256."""
    from eve_core.config import load_config
    from eve_core.data import versioning
    from eve_core.data.manifest import Manifest

    data = load_config(config).data
    found = versioning.resolve_revision(data.model_copy(update={"revision": revision or data.revision}))
    folder = versioning.fetch(found, out, data.remote)
    typer.echo(f"{folder} is {found}, digest {Manifest.read(folder).digest}")


@data_app.command()
def status(config: Annotated[Path, typer.Option(help="The run's YAML.")]) -> None:
    """Show the run's data revision, what Git and DVC pin, where its bytes are, and whether the folder was changed."""
    from rich import print as show_rich

    from eve_core.config import load_config
    from eve_core.data.versioning.status import data_status, status_table

    run = load_config(config)
    show_rich(status_table(data_status(run.data, run.workspace / "prepared")))


@data_app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="REV_A", help="A commit, tag or branch.")],
    after: Annotated[str, typer.Argument(metavar="REV_B", help="Another.")],
    config: Annotated[Path, typer.Option(help="The run's YAML.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the identifier of every row.")] = False,
) -> None:
    """Show which rows, pictures and left-out records differ between two data revisions."""
    import json

    from rich import print as show_rich

    from eve_core.config import load_config
    from eve_core.data.versioning.diff import compare_revisions, difference_table

    difference = compare_revisions(load_config(config).data, before, after)
    if as_json:
        typer.echo(json.dumps(difference.as_json(), indent=1))
    else:
        show_rich(difference_table(difference))
