"""Leakage: training rows that show what an evaluation split is scored on.

A training row leaks when one of its pictures is a photograph of an evaluation split:

- `id`: the same picture, as COCO Captions and VQA share them;
- `coco_id`: another set's file of the same COCO photograph (Visual Genome);
- `bytes`: the same file under another name;
- `looks`: a resized or re-encoded copy, by perceptual hash (Flickr30k has the photographs of Flickr8k).

So no caption or question of an evaluation split is trained on together with its photograph. Its words alone are no
leak: "what color is the cat?" is asked of a thousand cats. An NLVR2 statement however was written for one set of
photographs, so a training statement with the words of an evaluation statement leaks as well, whatever its pictures
(`statement`).

Every split that is not protected is trained on. Protected are, unless said otherwise, the splits that tasks are scored
on, all but train and restval, and they are protected from all training rows of all sets. With VQA's val split scored,
the photographs of val2014 that Karpathy's split trains on thus leave the captions of COCO and Visual Genome. The paper
trains VQA on train and val: that recipe leaves (vqa_v2, val) out of `protected`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eve_core.data.near_duplicates import near_duplicates
from eve_core.data.perceptual_hash import DISTANCE, KEY_DISTANCE
from eve_core.errors import UserError
from eve_core.progress import track

Way = Literal["id", "coco_id", "bytes", "looks", "statement"]
WAYS: tuple[Way, ...] = ("id", "coco_id", "bytes", "looks", "statement")
"""How a row can leak, the most certain way first."""

_Split = tuple[str, str]  # set and split
_SCORED_SETS = ("coco_captions", "flickr30k", "flickr8k", "nlvr2", "vqa_v2")
_TRAINING_SPLITS = ("train", "restval")
_SENTENCES: dict[Way, str] = {
    "id": "{item} is also a picture of {set} {split}",
    "coco_id": "{item} is the COCO photograph {witness} of {set} {split}",
    "bytes": "{item} is the same file as {witness} of {set} {split}",
    "looks": "{item} looks like {witness} of {set} {split} ({bits} of 256 bits differ)",
    "statement": "a statement of {set} {split} has the same words: {item}",
}
_LINK = ("way", "group", "bits", "witness", "item")


@dataclass(frozen=True)
class SplitRows:
    """Annotations of one split of one public set; a split may come in several of them."""

    set: str
    split: str
    table: pa.Table
    """Some columns of its kind in SCHEMAS: the identifier first, the image_ids, and of statements the statement."""


@dataclass(frozen=True)
class Leaks:
    """What `find_leaks` found."""

    rows: pa.Table
    """Every training row that leaks, once, sorted: set, split, row_id, reason ("leaks_into_vqa_v2_val") and detail (a
    sentence about the most certain way), all texts."""
    counts: pa.Table
    """set, evaluation_set, evaluation_split, way and rows (how many), sorted. A row that leaks into two evaluation
    splits counts in both, each time under the most certain way."""


def evaluation_splits(annotations: Sequence[SplitRows]) -> list[_Split]:
    """The sets and splits that are protected unless said otherwise, sorted."""
    named = {(rows.set, rows.split) for rows in annotations}
    return sorted((name, split) for name, split in named if name in _SCORED_SETS and split not in _TRAINING_SPLITS)


def find_leaks(
    pictures: pa.Table,
    annotations: Sequence[SplitRows],
    protected: Collection[_Split] | None = None,
    ways: Collection[Way] = WAYS,
    *,
    progress: bool = False,
) -> Leaks:
    """The training rows that leak into a protected split; the same for any order of the inputs.

    Args:
        pictures: image_id, sha256, phash and coco_id of every picture that the annotations name, as in SCHEMAS.
        annotations: of all sets.
        protected: (set, split) of what is scored; `evaluation_splits(annotations)` when None.
        ways: which ways of leaking count. Drawn pictures and generated statements are alike by design, so that only id,
            coco_id and bytes mean something there.
        progress: show how far it is.

    Raises:
        UserError: a protected split has no annotations.
    """
    tables = _by_split(annotations)
    groups = evaluation_splits(annotations) if protected is None else sorted(set(protected))
    for name, split in groups:
        if (name, split) not in tables:
            there_is = ", ".join(" ".join(pair) for pair in tables) or "nothing"
            raise UserError(
                f"{name} {split} is to be protected from leaks but has no annotations (there is {there_is}); prepare "
                "it, or take it off the list"
            )
    items = _Items(pictures, tables.values() if "statement" in ways else ())
    numbers = {source: items.of(table) for source, table in tables.items()}
    trained = [source for source in tables if source not in groups]
    in_training = np.zeros(len(items), dtype=bool)
    for source in trained:
        in_training[numbers[source]] = True
    in_groups = np.zeros((len(groups), len(items)), dtype=bool)
    for shown, source in zip(in_groups, groups, strict=True):
        shown[numbers[source]] = True

    links = _links(items, in_training, in_groups, ways, progress=progress)
    link_ways, link_groups, link_items = (links[name].to_numpy() for name in ("way", "group", "item"))
    counts: Counter[tuple[str, str, str, str]] = Counter()
    # Links are in the order of ways: a row's first one is the most certain.
    first = {source: np.full(len(numbers[source]), len(links)) for source in trained}
    for group, (name, split) in enumerate(groups):
        link_of_item = np.full(len(items), len(links))
        link_of_item[link_items[link_groups == group]] = np.flatnonzero(link_groups == group)
        for source in trained:
            own = link_of_item[numbers[source]].min(axis=1)
            np.minimum(first[source], own, out=first[source])
            for way, rows in enumerate(np.bincount(link_ways[own[own < len(links)]])):
                counts[source[0], name, split, WAYS[way]] += int(rows)
    return Leaks(_rows(tables, first, links, groups, items), _counts(counts))


def _by_split(annotations: Sequence[SplitRows]) -> dict[_Split, pa.Table]:
    """One table a split, sorted."""
    parts: dict[_Split, list[pa.Table]] = {}
    for rows in annotations:
        parts.setdefault((rows.set, rows.split), []).append(rows.table)
    return {key: pa.concat_tables(parts[key]) for key in sorted(parts)}


class _Items:
    """What a row can share with an evaluation split, numbered: pictures by image_id, then the words of statements.

    Args:
        pictures: see `find_leaks`.
        tables: whose statements count.
    """

    def __init__(self, pictures: pa.Table, tables: Iterable[pa.Table]) -> None:
        self._pictures = pictures.select(["image_id", "coco_id", "sha256", "phash"]).sort_by("image_id")
        texts = [chunk for table in tables if "statement" in table.column_names for chunk in table["statement"].chunks]
        self._words = pc.unique(_words(pa.chunked_array(texts, pa.string()))).sort()

    def __len__(self) -> int:
        return len(self._pictures) + len(self._words)

    def of(self, table: pa.Table) -> np.ndarray:
        """(rows, 1 to 3): the numbers of every row's items.

        Raises:
            ValueError: a row has a picture that is not in the table of pictures.
        """
        columns = [table[name] for name in table.column_names if name.endswith("image_id")]
        numbers = [pc.index_in(column, self._pictures["image_id"]) for column in columns]
        if any(column.null_count for column in numbers):
            raise ValueError("an annotation has a picture that is not in the table of pictures")
        if "statement" in table.column_names and len(self._words):
            numbers.append(pc.add(pc.index_in(_words(table["statement"]), self._words), len(self._pictures)))
        return np.stack([column.to_numpy() for column in numbers], axis=1)

    def keys(self, way: Way) -> np.ndarray:
        """(items,): equal for items that are the same in this way, -1 for those that have nothing to compare."""
        keys = np.full(len(self), -1)
        pictures, statements = np.split(keys, [len(self._pictures)])  # views
        if way == "statement":
            statements[:] = np.arange(len(statements))
        elif way == "id":
            pictures[:] = np.arange(len(pictures))
        else:
            column = {"coco_id": "coco_id", "bytes": "sha256", "looks": "phash"}[way]
            encoded = self._pictures[column].combine_chunks().dictionary_encode()
            pictures[:] = encoded.indices.fill_null(-1).to_numpy()
        return keys

    def hashes(self, numbers: np.ndarray) -> np.ndarray:
        """(n, 32) uint8: the perceptual hashes of pictures."""
        hashes = self._pictures["phash"].take(pa.array(numbers, pa.int64()))
        return np.frombuffer(b"".join(hashes.to_pylist()), np.uint8).reshape(-1, 32)

    def names(self, numbers: pa.ChunkedArray) -> list[str]:
        """Pictures' image_ids, statements' words."""
        names: list[str] = pa.chunked_array([*self._pictures["image_id"].chunks, self._words]).take(numbers).to_pylist()
        return names


def _words(statements: pa.ChunkedArray) -> pa.ChunkedArray:
    """Their letters and digits: neither case nor punctuation makes another statement."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(statements), r"[^\pL\pN]+", " "))


def _links(
    items: _Items, in_training: np.ndarray, in_groups: np.ndarray, ways: Collection[Way], *, progress: bool
) -> pa.Table:
    """For every item of a training row and every protected split that has the same: the most certain way.

    Args:
        items: all of them.
        in_training: (items,) bool.
        in_groups: (protected splits, items) bool.
        ways: which count.
        progress: show how far it is.

    Returns:
        Numbers of way, group (the protected split), bits (that differ), witness (the split's item) and item, in the
        order of ways, groups and items.
    """
    parts = [np.empty((0, len(_LINK)), np.int64)]
    in_evaluation = np.logical_or.reduce(in_groups)
    unlinked = np.tile(in_training, (len(in_groups), 1))
    for name in track([name for name in WAYS if name in ways], "looking for leaks", unit="way", shown=progress):
        way, keys = WAYS.index(name), items.keys(name)
        pairs = (_look_alikes if name == "looks" else _equals)(items, keys, in_training, in_evaluation)
        for group, shown in enumerate(in_groups):
            item, witness, bits = _closest(pairs, keys, shown)
            new = unlinked[group, item]
            unlinked[group, item] = False
            numbers = (np.full_like(item, way), np.full_like(item, group), bits, witness, item)
            parts.append(np.stack(numbers, axis=1)[new])
    return pa.table(dict(zip(_LINK, np.concatenate(parts).T, strict=True)))


def _equals(items: _Items, keys: np.ndarray, in_training: np.ndarray, in_evaluation: np.ndarray) -> np.ndarray:
    """(P, 3): every key twice, and no bits that differ."""
    own = np.unique(keys[in_evaluation & (keys >= 0)])
    return np.stack([own, own, np.zeros_like(own)], axis=1)


def _look_alikes(items: _Items, keys: np.ndarray, in_training: np.ndarray, in_evaluation: np.ndarray) -> np.ndarray:
    """(P, 3): the keys of a training and an evaluation picture that look alike, and the bits in which they differ."""
    sides = []
    for chosen in (in_training, in_evaluation):
        numbers = np.flatnonzero(chosen & (keys >= 0))
        own, once = np.unique(keys[numbers], return_index=True)
        sides.append((own, items.hashes(numbers[once])))
    (trained, queries), (shown, references) = sides
    pairs = near_duplicates(queries, references, key_distance=KEY_DISTANCE, distance=DISTANCE)
    return np.stack([trained[pairs[:, 0]], shown[pairs[:, 1]], pairs[:, 2]], axis=1)


def _closest(pairs: np.ndarray, keys: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The items that a split has too: their numbers, the closest item of the split, and the bits that differ."""
    numbers = np.flatnonzero(shown & (keys >= 0))
    own, once = np.unique(keys[numbers], return_index=True)
    by_key = np.full(len(keys) + 1, -1)  # -1, the key of items that have none, reads the last
    by_key[own] = numbers[once]
    near = pairs[by_key[pairs[:, 1]] >= 0]
    witness = by_key[near[:, 1]]
    order = np.lexsort((witness, near[:, 2], near[:, 0]))
    own, once = np.unique(near[order, 0], return_index=True)
    by_key[:] = -1
    by_key[own] = order[once]
    closest = by_key[keys]
    items = np.flatnonzero(closest >= 0)
    return items, witness[closest[items]], near[closest[items], 2]


def _rows(
    tables: Mapping[_Split, pa.Table],
    first: Mapping[_Split, np.ndarray],
    links: pa.Table,
    groups: Sequence[_Split],
    items: _Items,
) -> pa.Table:
    """`Leaks.rows`, from the first link of every training row; it is len(links) for those that have none."""
    is_used = np.zeros(len(links) + 1, dtype=bool)
    for own in first.values():
        is_used[own] = True
    used = np.flatnonzero(is_used[:-1])
    explained = _explain(links.take(pa.array(used)), groups, items)
    schema = pa.schema([(name, pa.string()) for name in ("set", "split", "row_id", "reason", "detail")])
    parts = [schema.empty_table()]
    for (name, split), own in first.items():
        leaking = np.flatnonzero(own < len(links))
        reasons = explained.take(pa.array(np.searchsorted(used, own[leaking])))
        columns = {
            "set": pa.repeat(name, len(leaking)),
            "split": pa.repeat(split, len(leaking)),
            "row_id": tables[name, split].column(0).take(pa.array(leaking)).cast(pa.string()),
            "reason": reasons["reason"],
            "detail": reasons["detail"],
        }
        parts.append(pa.table(columns, schema))
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("set", "split", "row_id")])


def _explain(links: pa.Table, groups: Sequence[_Split], items: _Items) -> pa.Table:
    """Reason and detail of every link."""
    splits = [groups[group] for group in links["group"].to_pylist()]
    details = [
        _SENTENCES[WAYS[way]].format(item=item, witness=witness, set=name, split=split, bits=bits)
        for way, item, witness, bits, (name, split) in zip(
            links["way"].to_pylist(),
            items.names(links["item"]),
            items.names(links["witness"]),
            links["bits"].to_pylist(),
            splits,
            strict=True,
        )
    ]
    reasons = [f"leaks_into_{name}_{split}" for name, split in splits]
    return pa.table({"reason": pa.array(reasons, pa.string()), "detail": pa.array(details, pa.string())})


def _counts(counts: Mapping[tuple[str, str, str, str], int]) -> pa.Table:
    """`Leaks.counts`."""
    names = ("set", "evaluation_set", "evaluation_split", "way", "rows")
    schema = pa.schema([(name, pa.int64() if name == "rows" else pa.string()) for name in names])
    found = sorted((*key, number) for key, number in counts.items() if number)
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in found], schema)
