"""The way from public sets to a prepared folder, as a whole or one set at a time."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eve_core.config import DataConfig, SourceConfig
from eve_core.data.leakage import WAYS, Way
from eve_core.data.manifest import MANIFEST_NAME, Manifest, SetSummary
from eve_core.data.prepare.leaks import set_leaks_apart
from eve_core.data.prepare.picture_shards import Lost, store_pictures
from eve_core.data.prepare.quarantine import Quarantined, read_quarantine, summarise
from eve_core.data.prepare.reading import Spool, read_set
from eve_core.data.prepare.row_shards import store_rows
from eve_core.data.prepared import PreparedData
from eve_core.data.records import KIND_OF_SET, NAMESPACE_OF_SET
from eve_core.data.sources.annotation import UNUSED_PICTURE
from eve_core.data.sources.expected import unexpected_counts
from eve_core.data.staging import recover, staged_folder
from eve_core.errors import UserError, explain_os_error

_WORLD_VARIABLE = "EVE_SYNTHETIC_WORLD"
_ORIGIN = "prepared_from.json"
_PROGRESS = ".progress"
_SPLIT_NAME = re.compile(r"[A-Za-z0-9_]+")

Quarantine = dict[str, list[Quarantined]]


def prepare_all(config: DataConfig, out: Path, workspace: Path, *, progress: bool = True) -> Manifest:
    """Prepare all sources of a configuration into a new folder that replaces `out`.

    When `config.synthetic` is set, the world is drawn first, into <workspace>/synthetic_world, and stands for
    ${EVE_SYNTHETIC_WORLD} in the sources' paths. A wholly synthetic set that is there already is not drawn again.

    Args:
        config: the sources, and whether annotations may be left out.
        out: the prepared folder; a crash leaves the old one or none, and the next call goes on from there.
        workspace: where the synthetic world is drawn.
        progress: show how far it is.

    Raises:
        UserError: see `prepare_set`; or there are no sources, or two of the same set.
    """
    if not config.sources:
        raise UserError("data.sources is empty; name the public sets to prepare, or copy those of configs/demo.yaml")
    twice = [name for name, count in Counter(source.set for source in config.sources).items() if count > 1]
    if twice:
        raise UserError(f"data.sources names {twice[0]} twice; list all its files in one source")
    origin = _origin_of_synthetic(config)
    earlier = _prepared_from(origin, out, workspace) if origin else None
    if earlier is not None:
        return earlier
    world = workspace / "synthetic_world" if config.synthetic is not None else None
    sources = [_with_world(source, world) for source in config.sources]
    try:
        if config.synthetic is not None and world is not None:
            from eve_core.data.synthetic.world import draw_world

            draw_world(config.synthetic, world, progress=progress)
        _refuse_strangers(out)
        with _resumable(out, sources, Manifest(), config.picture_short_side) as folder:
            manifest, quarantine = Manifest(), Quarantine()
            for source in sources:
                manifest = _add_set(
                    source,
                    folder,
                    manifest,
                    quarantine,
                    strict=not config.allow_partial,
                    whole_set=config.synthetic is None,
                    short_side=config.picture_short_side,
                    progress=progress,
                )
            manifest = set_leaks_apart(
                folder,
                manifest,
                quarantine,
                protected=config.protected,
                ways=config.leak_ways,
                progress=progress,
            )
            manifest.write(folder)
        if origin:
            (workspace / _ORIGIN).write_text(json.dumps({"origin": origin, "digest": manifest.digest}) + "\n")
    except OSError as error:
        raise explain_os_error(error, f"preparing {out}") from error
    return manifest


def prepare_set(
    source: SourceConfig,
    out: Path,
    *,
    allow_partial: bool,
    leak_ways: Collection[Way] = WAYS,
    short_side: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Prepare one public set and add it to the prepared folder `out`, in the place of an earlier version of it.

    Pictures that `out` already holds are not stored again. A call that was killed goes on where it was when it is made
    again with the same files.

    Args:
        source: the set's files.
        out: the prepared folder, made when missing; a crash leaves the old one or none.
        allow_partial: accept a part of the set, and put records without picture, text or proper form into quarantine;
            otherwise the first of them, or a number of records other than the published one, stops the preparation.
        leak_ways: see `DataConfig.leak_ways`.
        short_side: see `DataConfig.picture_short_side`.
        progress: show how far it is.

    Returns:
        The manifest of the folder, with all its sets.

    Raises:
        UserError: a file is missing or broken, no annotation is left, something is left out although `allow_partial`
            is false, or the disk is full or read-only.
    """
    try:
        recover(out)
        _refuse_strangers(out)
        before = PreparedData.open(out).manifest if (out / MANIFEST_NAME).exists() else Manifest()
        with _resumable(out, [source], before, short_side) as folder:
            manifest, quarantine = _carry_over(before, out, folder, without=source.set)
            manifest = _add_set(
                source,
                folder,
                manifest,
                quarantine,
                strict=not allow_partial,
                whole_set=True,
                short_side=short_side,
                progress=progress,
            )
            manifest = set_leaks_apart(folder, manifest, quarantine, protected=None, ways=leak_ways, progress=progress)
            manifest.write(folder)
    except OSError as error:
        raise explain_os_error(error, f"preparing {source.set} into {out}") from error
    return manifest


@contextmanager
def _resumable(out: Path, sources: list[SourceConfig], before: Manifest, short_side: int | None) -> Iterator[Path]:
    """The folder that takes the place of `out`; with whole shards of pictures in it, it is kept for another attempt."""
    digest = hashlib.sha256(f"{before.digest} {_code_digest()} {short_side}".encode())
    for source in sources:
        tree = source.model_dump(mode="json")
        digest.update(json.dumps(tree, sort_keys=True).encode())
        for file in _annotation_files(tree):
            digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    with staged_folder(out, MANIFEST_NAME, resume=digest.hexdigest(), progress=_PROGRESS) as folder:
        yield folder
        shutil.rmtree(folder / _PROGRESS)


def _annotation_files(settings: dict[str, Any]) -> Iterator[Path]:
    """Every file that a source names, and the files directly in folders that it names, but for its pictures."""
    for name, value in settings.items():
        for path in map(Path, value if isinstance(value, list) else [value]) if name != "images" and value else ():
            if path.is_file():
                yield path
            elif path.is_dir():
                yield from (entry for entry in sorted(path.iterdir()) if entry.is_file())


def _origin_of_synthetic(config: DataConfig) -> str | None:
    """What a wholly synthetic set follows from: settings, code and libraries; None for a set that reads other files."""
    paths = [str(source.model_dump(mode="json")) for source in config.sources]
    if config.synthetic is None or not all(_WORLD_VARIABLE in path for path in paths):
        return None
    fields = {"synthetic", "sources", "allow_partial", "picture_short_side", "protected", "leak_ways"}
    return hashlib.sha256(f"{config.model_dump_json(include=fields)} {_code_digest()}".encode()).hexdigest()


def _code_digest() -> str:
    """sha256 of the code that prepares, and of the versions of the libraries that make its bytes."""
    libraries = [f"{package}=={version(package)}" for package in ("pillow", "numpy", "pyarrow")]
    digest = hashlib.sha256(" ".join(libraries).encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _prepared_from(origin: str, out: Path, workspace: Path) -> Manifest | None:
    """The manifest of `out` when it was prepared from `origin` and is whole; None otherwise."""
    try:
        record = json.loads((workspace / _ORIGIN).read_text())
        manifest = PreparedData.open(out).manifest
    except (OSError, ValueError):
        return None
    return manifest if record == {"origin": origin, "digest": manifest.digest} else None


def _with_world(source: SourceConfig, world: Path | None) -> SourceConfig:
    """The source with the folder of the synthetic world in its paths."""
    tree = source.model_dump(mode="json")
    variable = f"${{{_WORLD_VARIABLE}}}"
    if world is None:
        if variable in str(tree):
            raise UserError(
                f"the paths of {source.set} name {variable} but data.synthetic is not set; set it, or the paths"
            )
        return source

    def expand(value: object) -> object:
        if isinstance(value, list):
            return [expand(item) for item in value]
        return value.replace(variable, str(world)) if isinstance(value, str) else value

    return source.model_validate({key: expand(value) for key, value in tree.items()})


def _refuse_strangers(out: Path) -> None:
    """Preparing replaces `out` as a whole, so nothing else may live in it."""
    ours = {MANIFEST_NAME, "images", *KIND_OF_SET}
    strangers = [entry.name for entry in out.iterdir() if entry.name not in ours] if out.is_dir() else []
    if strangers:
        raise UserError(
            f"the output folder {out} also holds {strangers[0]}, which is no prepared data; move it, or choose another "
            "folder"
        )


def _carry_over(manifest: Manifest, out: Path, folder: Path, *, without: str) -> tuple[Manifest, Quarantine]:
    """Link the shards of `out` into `folder`, all but the annotations of one set and what is in quarantine."""
    kept = tuple(
        shard
        for shard in manifest.shards
        if shard.table == "images" or (shard.set != without and shard.table != "quarantine")
    )
    for shard in kept:
        place = folder / shard.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link((out / shard.path).resolve(), place)
        except OSError:  # a file system without hard links
            shutil.copyfile(out / shard.path, place)
    sets = {name: summary for name, summary in manifest.sets.items() if name != without}
    return Manifest(kept, sets), {name: read_quarantine(out, manifest, name) for name in sets}


def _add_set(
    source: SourceConfig,
    folder: Path,
    manifest: Manifest,
    quarantine: Quarantine,
    *,
    strict: bool,
    whole_set: bool,
    short_side: int | None,
    progress: bool,
) -> Manifest:
    """Write the shards of one set into `folder` and describe them; what is set apart goes into `quarantine`."""
    name, namespace = source.set, NAMESPACE_OF_SET[source.set]
    work = folder / _PROGRESS
    spool = read_set(source, work / name, progress=progress)
    _check_splits(name, spool)
    notes = unexpected_counts(name, spool.counts) if whole_set else []
    if strict:
        _refuse(name, [one for one in spool.quarantined if one.reason != UNUSED_PICTURE], notes)

    def refuse_loss(loss: Lost) -> None:
        if strict:
            _refuse(name, [Quarantined("", loss.reason, loss.detail, None)], [])

    stored = [shard for shard in manifest.shards if shard.table == "images" and shard.set == namespace]
    known = {i for shard in stored for i in pq.read_table(folder / shard.path, columns=["image_id"])[0].to_pylist()}
    pictures, losses = store_pictures(
        (picture for picture in spool.picture_files() if picture.image_id not in known),
        spool.pictures - sum(image_id in known for image_id in spool.picture_ids()) if known else spool.pictures,
        folder,
        namespace,
        first=len(stored),
        journal=work / f"{name}.journal",
        short_side=short_side,
        progress=progress,
        on_loss=refuse_loss,
    )
    rows, without_picture = store_rows(spool, folder, name, losses)
    quarantine[name] = spool.quarantined + without_picture
    if not rows:
        raise UserError(_nothing_left(source, quarantine[name]))
    # In an order that does not depend on which set was prepared first or again.
    shards = sorted([*manifest.shards, *pictures, *rows], key=lambda shard: (shard.table != "images", shard.path))
    return Manifest(tuple(shards), dict(sorted({**manifest.sets, name: SetSummary(notes=notes)}.items())))


def _check_splits(name: str, spool: Spool) -> None:
    for split in spool.counts:
        if not _SPLIT_NAME.fullmatch(split) or split == "quarantine":
            raise UserError(f"{name} has a split named {split!r}; a split's name has only letters, digits and _")


def _refuse(name: str, quarantined: list[Quarantined], notes: list[str]) -> None:
    """Stop where anything is missing from a set that has to be whole."""
    counts, examples = summarise(quarantined)
    problems = [f"{count:,} {reason.replace('_', ' ')}: {examples[reason][0]}" for reason, count in counts.items()]
    if problems or notes:
        raise UserError(
            f"{name} is not whole: {'; '.join(problems + notes)}; mend it, or allow partial data "
            "(data.allow_partial: true in the config, --allow-partial on the command line)"
        )


def _nothing_left(source: SourceConfig, quarantined: list[Quarantined]) -> str:
    counts, examples = summarise(quarantined)
    if not counts:
        return f"{source.set} holds no annotation at all; check the paths in the config"
    reasons = ", ".join(f"{count:,} {reason} (such as {examples[reason][0]})" for reason, count in counts.items())
    return f"{source.set} has no annotation left: {reasons}; check the paths of its pictures"
