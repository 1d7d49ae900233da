"""Preparing: public sets on disk -> a prepared folder; every picture is decoded, what is left out is counted."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from eve_core.config import (
    CocoCaptionsSource,
    DataConfig,
    FlickrSource,
    Nlvr2Source,
    SourceConfig,
    VqaV2Source,
)
from eve_core.data.manifest import MANIFEST_NAME, Manifest, SetSummary, Shard
from eve_core.data.pictures import Picture, Unreadable, read_picture
from eve_core.data.prepared import PreparedData
from eve_core.data.records import KIND_OF_SET, NAMESPACE_OF_SET, TEXT_COLUMN
from eve_core.data.shards import ShardWriter
from eve_core.data.sources import coco_captions, flickr, nlvr2, vqa_v2
from eve_core.data.sources.annotation import Annotation
from eve_core.data.staging import staged_folder
from eve_core.errors import UserError, explain_os_error
from eve_core.progress import track

_WORLD_VARIABLE = "EVE_SYNTHETIC_WORLD"
_EXAMPLES = 5
_ORIGIN = "prepared_from.json"
_BATCH = 256
_SPLIT_NAME = re.compile(r"[A-Za-z0-9_]+")


def prepare_all(config: DataConfig, out: Path, workspace: Path, *, progress: bool = True) -> Manifest:
    """Prepare all sources of a configuration into a new folder that replaces `out`.

    When `config.synthetic` is set, the world is drawn first, into <workspace>/synthetic_world, and stands for
    ${EVE_SYNTHETIC_WORLD} in the sources' paths. A wholly synthetic set that is there already is not drawn again.

    Args:
        config: the sources, and whether annotations may be left out.
        out: the prepared folder; a crash leaves the old one or none.
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
        with staged_folder(out, MANIFEST_NAME) as folder:
            manifest = Manifest()
            for source in sources:
                manifest = _add_set(source, folder, manifest, config.allow_partial, progress)
            manifest.write(folder)
        if origin:
            (workspace / _ORIGIN).write_text(json.dumps({"origin": origin, "digest": manifest.digest}) + "\n")
    except OSError as error:
        raise explain_os_error(error, f"preparing {out}") from error
    return manifest


def _origin_of_synthetic(config: DataConfig) -> str | None:
    """What a wholly synthetic set follows from: settings, code and libraries; None for a set that reads other files."""
    paths = [str(source.model_dump(mode="json")) for source in config.sources]
    if config.synthetic is None or not all(_WORLD_VARIABLE in path for path in paths):
        return None
    digest = hashlib.sha256(config.model_dump_json(include={"synthetic", "sources", "allow_partial"}).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for package in ("pillow", "numpy", "pyarrow"):
        digest.update(f"{package}=={version(package)}".encode())
    return digest.hexdigest()


def _prepared_from(origin: str, out: Path, workspace: Path) -> Manifest | None:
    """The manifest of `out` when it was prepared from `origin` and is whole; None otherwise."""
    try:
        record = json.loads((workspace / _ORIGIN).read_text())
        manifest = PreparedData.open(out).manifest
    except (OSError, ValueError):
        return None
    return manifest if record == {"origin": origin, "digest": manifest.digest} else None


def prepare_set(source: SourceConfig, out: Path, *, allow_partial: bool, progress: bool = True) -> Manifest:
    """Prepare one public set and add it to the prepared folder `out`, in the place of an earlier version of it.

    Pictures that `out` already holds are not stored again.

    Args:
        source: the set's files.
        out: the prepared folder, made when missing; a crash leaves the old one or none.
        allow_partial: leave out and count annotations with a missing or unreadable picture or without text; otherwise
            the first of them stops the preparation.
        progress: show how far it is.

    Returns:
        The manifest of the folder, with all its sets.

    Raises:
        UserError: a file is missing or broken, no annotation is left, something is left out although `allow_partial`
            is false, or the disk is full or read-only.
    """
    try:
        _refuse_strangers(out)
        exists = (out / MANIFEST_NAME).exists()
        manifest = PreparedData.open(out).manifest if exists else Manifest()
        with staged_folder(out, MANIFEST_NAME) as folder:
            manifest = _carry_over(manifest, out, folder, without=source.set)
            manifest = _add_set(source, folder, manifest, allow_partial, progress)
            manifest.write(folder)
    except OSError as error:
        raise explain_os_error(error, f"preparing {source.set} into {out}") from error
    return manifest


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
        return [expand(item) for item in value] if isinstance(value, list) else str(value).replace(variable, str(world))

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


def _carry_over(manifest: Manifest, out: Path, folder: Path, *, without: str) -> Manifest:
    """Link the shards of `out` into `folder`, all but the annotations of one set."""
    kept = tuple(shard for shard in manifest.shards if shard.table == "images" or shard.set != without)
    for shard in kept:
        place = folder / shard.path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link((out / shard.path).resolve(), place)
        except OSError:  # a file system without hard links
            shutil.copyfile(out / shard.path, place)
    return Manifest(kept, {name: summary for name, summary in manifest.sets.items() if name != without})


def _add_set(source: SourceConfig, folder: Path, manifest: Manifest, allow_partial: bool, progress: bool) -> Manifest:
    """Write the shards of one set into `folder` and describe them."""
    kind, namespace = KIND_OF_SET[source.set], NAMESPACE_OF_SET[source.set]
    annotations = list(_read(source))
    left_out = _LeftOut(source, allow_partial)
    counts: Counter[str] = Counter()
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        pictures = stack.enter_context(_Pictures(folder, namespace, manifest.shards))
        for annotation in _with_pictures(annotations, kind, pictures, left_out, progress):
            split = annotation.row["split"]
            if split not in writers:
                if not _SPLIT_NAME.fullmatch(split):
                    raise UserError(
                        f"{source.set} has a split named {split!r}; a split's name has only letters, digits and _"
                    )
                writers[split] = stack.enter_context(ShardWriter(folder, kind, source.set, split))
            writers[split].write(annotation.row)
            counts[split] += 1
        if not counts:
            raise UserError(left_out.nothing_left())
    new = [*pictures.shards, *(shard for split in sorted(writers) for shard in writers[split].shards)]
    # In an order that does not depend on which set was prepared first or again.
    shards = sorted([*manifest.shards, *new], key=lambda shard: (shard.table != "images", shard.path))
    summary = SetSummary(dict(sorted(counts.items())), dict(sorted(left_out.counts.items())), left_out.examples)
    return Manifest(tuple(shards), dict(sorted({**manifest.sets, source.set: summary}.items())))


def _read(source: SourceConfig) -> Iterator[Annotation]:
    match source:
        case CocoCaptionsSource():
            return coco_captions.read(source)
        case VqaV2Source():
            return vqa_v2.read(source)
        case Nlvr2Source():
            return nlvr2.read(source)
        case FlickrSource():
            return flickr.read(source)


def _with_pictures(
    annotations: list[Annotation], kind: str, pictures: "_Pictures", left_out: "_LeftOut", progress: bool
) -> Iterator[Annotation]:
    """Yield the annotations that are whole, after storing their pictures; count the others."""
    text = TEXT_COLUMN[kind]
    identifier = next(iter(annotations[0].row)) if annotations else ""
    remaining: Iterable[Annotation] = annotations
    if progress:
        remaining = track(annotations, f"preparing {left_out.set}", unit=f" {kind}")
    remaining = iter(remaining)
    while batch := list(islice(remaining, _BATCH)):
        found = []
        for annotation in batch:
            missing = [
                picture.name
                for picture in annotation.pictures
                if not pictures.find(picture.image_id, picture.candidates)
            ]
            if not annotation.row[text].strip():
                left_out.add(f"empty_{text}", str(annotation.row[identifier]))
            elif missing:
                left_out.add("missing_picture", missing[0])
            else:
                found.append(annotation)
        pictures.load({picture.image_id for annotation in found for picture in annotation.pictures})
        for annotation in found:
            reasons = [
                (p.name, pictures.unreadable[p.image_id])
                for p in annotation.pictures
                if p.image_id in pictures.unreadable
            ]
            if reasons:
                left_out.add("unreadable_picture", f"{reasons[0][0]} ({reasons[0][1]})")
                continue
            for picture in annotation.pictures:
                pictures.store(picture.image_id, picture.name)
            yield annotation


class _Pictures:
    """The pictures of a namespace: those that are stored already, and those that are found, decoded and added."""

    def __init__(self, folder: Path, namespace: str, shards: tuple[Shard, ...]) -> None:
        existing = [shard for shard in shards if shard.table == "images" and shard.set == namespace]
        self.unreadable: dict[str, str] = {}
        """Why a picture could not be read, by image_id."""
        self._stored: set[str] = set()
        for shard in existing:
            self._stored.update(pq.read_table(folder / shard.path, columns=["image_id"])["image_id"].to_pylist())
        self._writer = ShardWriter(folder, "images", namespace, first=len(existing))
        self._found: dict[str, Path | None] = {}
        self._loaded: dict[str, Picture] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count())

    @property
    def shards(self) -> list[Shard]:
        """The new shards, complete after the context."""
        return self._writer.shards

    def __enter__(self) -> "_Pictures":
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._writer.__exit__(*error)  # type: ignore[arg-type]

    def find(self, image_id: str, candidates: tuple[Path, ...]) -> bool:
        """Whether the picture is stored or there is a file for it."""
        if image_id in self._stored:
            return True
        if image_id not in self._found:
            self._found[image_id] = next((path for path in candidates if path.is_file()), None)
        return self._found[image_id] is not None

    def load(self, image_ids: set[str]) -> None:
        """Read and decode those that are not stored, on all cores (Pillow decodes outside of Python's lock)."""
        wanted = sorted(image_ids - self._stored - self.unreadable.keys())
        self._loaded = {}
        for image_id, picture in zip(
            wanted, self._pool.map(read_picture, (self._found[i] for i in wanted)), strict=True
        ):
            if isinstance(picture, Unreadable):
                self.unreadable[image_id] = picture.reason
            else:
                self._loaded[image_id] = picture

    def store(self, image_id: str, name: str) -> None:
        """Write a loaded picture, once."""
        if image_id not in self._stored:
            self._writer.write(self._loaded[image_id].row(image_id, name))
            self._stored.add(image_id)


class _LeftOut:
    """Counts annotations that are left out, or refuses to leave out any."""

    def __init__(self, source: SourceConfig, allowed: bool) -> None:
        self.set = source.set
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._images = source.images
        self._allowed = allowed

    def add(self, reason: str, example: str) -> None:
        """Count one annotation, with the picture or the identifier that shows why."""
        if not self._allowed:
            raise UserError(
                f"{self.set}: {reason.replace('_', ' ')}: {example} (pictures are looked for in {self._images}); mend "
                "it, or allow partial data (data.allow_partial: true in the config, --partial on the command line)"
            )
        self.counts[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES and example not in examples:
            examples.append(example)

    def nothing_left(self) -> str:
        """What to say when no annotation is whole."""
        if not self.counts:
            return f"{self.set} holds no annotation at all; check its files in the config"
        reasons = [f"{count} {reason} (such as {self.examples[reason][0]})" for reason, count in self.counts.items()]
        return (
            f"{self.set} has no annotation left: {', '.join(reasons)}; pictures are looked for in {self._images}, so "
            "check that path"
        )
