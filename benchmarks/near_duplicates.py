"""The search for near-duplicates: a million perceptual hashes against a hundred thousand."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import follow, peak_memory, take_turns
from benchmarks.results import Line, chosen_device, parser, publish
from eve_core.data.near_duplicates import near_duplicates
from eve_core.data.perceptual_hash import DISTANCE, KEY_DISTANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS_TARGET, GB_TARGET = 60.0, 2.0
KINDS = ("uniform", "clustered", "crowded")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.add_argument("--queries", type=int, help="hashes that are looked up (a million; 4,000 with --quick)")
    command.add_argument("--references", type=int, help="among how many (a hundred thousand; 1,000 with --quick)")
    options = command.parse_args(arguments)
    options.device = "cpu"  # the search runs nowhere else
    queries = options.queries or (4_000 if options.quick else 1_000_000)
    references = options.references or (1_000 if options.quick else 100_000)

    drawn = {kind: draw(kind, queries, references) for kind in KINDS}
    cases = [(kind, size) for kind in KINDS for size in (queries // 4, queries // 2, queries)]
    contestants = {f"{kind} {size}": partial(search, drawn[kind][0][:size], drawn[kind][1]) for kind, size in cases}
    device = chosen_device(options)
    timings = take_turns(contestants, device, rounds=options.rounds, description="near-duplicates")
    rows: list[dict[str, Any]] = [
        {"hashes": kind, "queries": size, **timing.summary}
        for (kind, size), timing in zip(cases, timings.values(), strict=True)
    ]
    for row in follow([row for row in rows if row["queries"] == queries], "memory and recall"):
        kind = row["hashes"]
        recall, seconds_of_a_scan = _compare_with_scan(*drawn[kind])
        row["pairs"] = len(search(*drawn[kind]))
        row["recall"] = recall
        row["scan_ratio"] = seconds_of_a_scan / row["best_seconds"]
        row["peak_memory_gb"] = peak_memory(_draw_and_search, kind, queries, references, device=device) / 1e9
    settings = {
        "queries": queries,
        "references": references,
        "key_distance": KEY_DISTANCE,
        "distance": DISTANCE,
    }
    publish("near_duplicates", options, settings, {"rows": rows}, _lines(rows), _draw)


def search(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The search as leakage does it."""
    return near_duplicates(asked, known, key_distance=KEY_DISTANCE, distance=DISTANCE)


def draw(kind: str, queries: int, references: int) -> tuple[np.ndarray, np.ndarray]:
    """(queries, 32) and (references, 32) uint8; every hundredth query is a copy of a reference, but for a few bits.

    Args:
        kind: uniform; clustered (a thousand hashes of which each copy has an eighth of the bits flipped: many share
            bands, few are close); crowded (a twentieth shares a band of the key).
        queries: how many.
        references: how many.
    """
    rng = np.random.default_rng(0)
    known, asked = _hashes(rng, kind, references), _hashes(rng, kind, queries)
    copies = asked[::100]
    copies[:] = known[rng.integers(references, size=len(copies))] ^ _flips(rng, len(copies), halvings=6)
    return asked, known


def scan(asked: np.ndarray, known: np.ndarray) -> set[tuple[int, int]]:
    """The pairs that are close, by comparing each with each."""
    asked_words, known_words = asked.view(np.uint64), known.view(np.uint64)
    pairs: set[tuple[int, int]] = set()
    for number, words in enumerate(asked_words):
        bits = np.bitwise_count(known_words ^ words)
        close = (bits[:, 0] <= KEY_DISTANCE) & (bits.sum(axis=1) <= DISTANCE)
        pairs.update((number, int(reference)) for reference in np.flatnonzero(close))
    return pairs


def _hashes(rng: np.random.Generator, kind: str, number: int) -> np.ndarray:
    hashes = rng.integers(0, 256, size=(number, 32), dtype=np.uint8)
    if kind == "clustered":
        centres = np.random.default_rng(1).integers(0, 256, size=(1000, 32), dtype=np.uint8)
        return centres[rng.integers(len(centres), size=number)] ^ _flips(rng, number, halvings=3)
    if kind == "crowded":
        hashes[::20, 2:4] = 0
    return hashes


def _flips(rng: np.random.Generator, number: int, halvings: int) -> np.ndarray:
    """(number, 32) uint8 in which a bit is set with a chance of 1 / 2^halvings."""
    flips = rng.integers(0, 256, size=(number, 32), dtype=np.uint8)
    for _ in range(halvings - 1):
        flips &= rng.integers(0, 256, size=(number, 32), dtype=np.uint8)
    return flips


def _compare_with_scan(asked: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Which share of a scan's pairs the search finds for some queries, and how long a scan for all would take."""
    some = np.ascontiguousarray(asked[:: max(1, len(asked) // 500)])
    start = time.perf_counter()
    close = scan(some, known)
    seconds = (time.perf_counter() - start) * len(asked) / len(some)
    found = {(query, reference) for query, reference, _ in search(some, known).tolist()}
    return len(found & close) / len(close), seconds


def _draw_and_search(kind: str, queries: int, references: int) -> None:
    search(*draw(kind, queries, references))


def _lines(rows: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for row in rows:
        if "recall" in row:
            kind = row["hashes"]
            lines += [
                Line(f"{kind}: seconds", row["best_seconds"], "{:.1f}", SECONDS_TARGET, at_most=True),
                Line(f"{kind}: peak memory, GB", row["peak_memory_gb"], "{:.2f}", GB_TARGET, at_most=True),
                Line(f"{kind}: share of the close pairs that is found", row["recall"], "{:.0%}", 1.0),
                Line(f"{kind}: times as fast as comparing each with each", row["scan_ratio"], "{:.0f}"),
            ]
    return lines


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axes = figure.subplots()
    for kind in KINDS:
        rows = [row for row in measured["rows"] if row["hashes"] == kind]
        sizes = [row["queries"] / 1e6 for row in rows]
        axes.plot(sizes, [row["best_seconds"] for row in rows], marker="o", label=kind)
    axes.axhline(SECONDS_TARGET, color="black", linestyle="--", label="target for the most queries")
    axes.set(xlabel="queries, millions", ylabel="seconds", yscale="log", title="Search for near-duplicates")
    axes.legend()


if __name__ == "__main__":
    main()
