"""Second pass: every picture of a set is read, decoded and stored, on all cores, and a killed run goes on."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from eve_core.data.locations import exists
from eve_core.data.manifest import Shard
from eve_core.data.pictures import BadPicture, Picture, read_picture
from eve_core.data.shards import ShardWriter
from eve_core.data.sources.annotation import PictureFile
from eve_core.progress import Progress

# Pictures read ahead, by core: enough to do while a group of rows is written.
_AHEAD = 128
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lost:
    """A picture that could not be stored."""

    reason: str
    """missing_picture or unreadable_picture."""
    detail: str
    """Its file name, and what is wrong with it."""


def store_pictures(
    pictures: Iterable[PictureFile],
    number: int,
    folder: Path,
    namespace: str,
    *,
    first: int,
    journal: Path,
    short_side: int | None,
    progress: bool,
    on_loss: Callable[[Lost], None],
) -> tuple[list[Shard], dict[str, Lost]]:
    """Store pictures in their order.

    Shards hold the same bytes whatever the number of cores, and whether or not a run was killed in between: `journal`
    gets a line a finished shard, and with the same journal and folder the work goes on behind the last of them. What
    was lost is looked at again: a picture that has come since belongs into its shard, which is made anew.

    Args:
        pictures: those that are not stored yet.
        number: how many they are.
        folder: the prepared folder.
        namespace: of the pictures.
        first: number of the first shard.
        journal: file that records what is done.
        short_side: see `read_picture`.
        progress: show how far it is.
        on_loss: called with every picture that cannot be stored; it may raise.

    Returns:
        The shards, and by image_id what could not be stored.
    """
    done = _Journal(journal, folder, short_side)
    losses = dict(done.losses)
    for loss in losses.values():
        on_loss(loss)
    writer = ShardWriter(folder, "images", namespace, first=first + len(done.shards))
    # Places, counted over all pictures, of those that are stored but not yet in a finished shard.
    open_places: deque[int] = deque()
    fresh: dict[int, tuple[PictureFile, Lost]] = {}

    def record_finished(known: int) -> int:
        for shard in writer.shards[known:]:
            last = [open_places.popleft() for _ in range(shard.rows)][-1]
            lost = [fresh.pop(place) for place in [place for place in fresh if place < last]]
            done.add(shard, last + 1, lost)
        return len(writer.shards)

    remaining = enumerate(islice(pictures, done.pictures, None), start=done.pictures)
    known = 0
    with (
        ThreadPoolExecutor(cores()) as pool,
        writer,
        Progress(f"pictures of {namespace}", number, " picture", shown=progress) as bar,
    ):
        bar.update(done.pictures)
        for place, picture, result in in_order(pool, partial(_load, short_side=short_side), remaining):
            if isinstance(result, Lost):
                on_loss(result)
                losses[picture.image_id] = result
                fresh[place] = picture, result
            else:
                writer.write(result.row(picture.image_id, picture.name, picture.coco_id))
                open_places.append(place)
                known = record_finished(known)
            bar.update()
    return [*done.shards, *writer.shards], losses


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` on all items by all threads of the pool, results in the order of the items, a bounded number at a time."""
    waiting: deque[Future[Result]] = deque()
    remaining = iter(items)
    try:
        for item in islice(remaining, _AHEAD * cores()):
            waiting.append(pool.submit(work, item))
        while waiting:
            result = waiting.popleft().result()
            for item in islice(remaining, 1):
                waiting.append(pool.submit(work, item))
            yield result
    finally:
        for future in waiting:
            future.cancel()


def _load(numbered: tuple[int, PictureFile], short_side: int | None) -> tuple[int, PictureFile, Picture | Lost]:
    return *numbered, _read(numbered[1], short_side)


def _read(picture: PictureFile, short_side: int | None) -> Picture | Lost:
    try:
        location = next((place for place in picture.candidates if exists(place)), None)
        if location is None:
            return Lost("missing_picture", picture.name)
        return read_picture(location, short_side)
    except BadPicture as error:
        return Lost("unreadable_picture", f"{picture.name} ({error})")
    except OSError as error:
        return Lost("unreadable_picture", f"{picture.name} ({error.strerror or error})")


class _Journal:
    """What an earlier, killed run finished: a line a shard, written after the shard has its final name."""

    def __init__(self, path: Path, folder: Path, short_side: int | None) -> None:
        self._path = path
        self.shards: list[Shard] = []
        self.pictures = 0
        """Pictures up to and with the last one of the last shard."""
        self.losses: dict[str, Lost] = {}
        """Those of them that could not be stored."""
        whole = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                break  # the run was killed while it wrote this line
            shard = Shard(**entry["shard"])
            file = folder / shard.path
            if not file.is_file() or file.stat().st_size != shard.bytes:
                break
            lost = [(PictureFile.from_row(picture), Lost(**loss)) for picture, loss in entry["lost"]]
            if any(_read(picture, short_side) != loss for picture, loss in lost):
                break
            whole.append(line + "\n")
            self.shards.append(shard)
            self.pictures = entry["pictures"]
            self.losses |= {picture.image_id: loss for picture, loss in lost}
        path.write_text("".join(whole))

    def add(self, shard: Shard, pictures: int, lost: list[tuple[PictureFile, Lost]]) -> None:
        lines = [(picture.row(), asdict(loss)) for picture, loss in lost]
        entry = {"shard": asdict(shard), "pictures": pictures, "lost": lines}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
