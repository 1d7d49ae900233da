"""The page of a validation: one self-contained file with every number, in front of Great Expectations' data docs."""

from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from eve_core.data.manifest import Manifest
from eve_core.data.records import LEAK
from eve_core.quality.report import ExpectationResult, ValidationReport

STYLE = files("eve_core.quality").joinpath("pages", "style.css").read_text(encoding="utf-8")
_TITLES = {
    "words": "Words",
    "rows_of_picture": "Rows of one picture",
    "width": "Width, pixels",
    "height": "Height, pixels",
    "aspect_ratio": "Longer side / shorter side",
    "answers": "Most frequent answers",
    "answer_type": "Answer types",
    "label": "Labels",
    "format": "Formats",
}
_VALUES_SHOWN = 15
_LABELS_UNDER_A_HISTOGRAM = 6
# Columns of expectations that are about pictures which are in two places.
_RELATIONS = {
    "picture_trained_on": "rows whose picture the same set trains on",
    "copy_trained_on": "rows whose picture is trained on under another id",
    "has_copy": "pictures with the bytes of another one",
}


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    label: str
    """The bin, or the value."""
    marked: bool
    """Whether the label is written under it."""
    count: int
    """Rows."""
    height: float
    """Share of the highest bar's, 0 to 1."""
    share: float
    """Of all rows."""
    previous: float | None
    """Height of the revision before; None when there is none."""


def write_page(
    folder: Path,
    report: ValidationReport,
    statistics: dict[str, Any],
    previous: dict[str, Any] | None,
    manifest: Manifest,
    data_docs: dict[str, list[tuple[str, str]]],
) -> None:
    """Write index.html.

    Args:
        folder: where it goes.
        report: what was found.
        statistics: of each table, by name.
        previous: statistics.json of the revision before.
        manifest: of the data; it knows what was left out when it was prepared.
        data_docs: from `finish_data_docs`.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    loader = PackageLoader("eve_core.quality", "pages")
    environment = Environment(
        loader=loader, autoescape=select_autoescape(["html", "jinja"]), trim_blocks=True, lstrip_blocks=True
    )
    before = previous["tables"] if previous else {}
    page = environment.get_template("index.html.jinja").render(
        report=report,
        style=STYLE,
        statistics=statistics,
        charts={name: _charts(statistics[name], before.get(name)) for name in statistics},
        relations=_relations(report.results, statistics, manifest),
        sets=manifest.sets,
        data_docs=data_docs,
        tables=[(name, [*of_table]) for name, of_table in groupby(report.results, key=lambda result: result.table)],
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _charts(now: dict[str, Any], before: dict[str, Any] | None) -> dict[str, dict[str, list[Bar]]]:
    """By "histograms" and "values", the bars by title."""
    histograms = {
        title: _histogram(now["numbers"][name], _part(before, "numbers", name))
        for name, title in _TITLES.items()
        if name in now["numbers"]
    }
    values = {
        title: _values(now["categories"][name], _part(before, "categories", name, "values"))
        for name, title in _TITLES.items()
        if name in now["categories"]
    }
    return {
        "histograms": {title: bars for title, bars in histograms.items() if bars},
        "values": {title: bars for title, bars in values.items() if bars},
    }


def _part(statistics: dict[str, Any] | None, *names: str) -> Any:
    """What lies under `names`; None where one of them is missing."""
    found: Any = statistics
    for name in names:
        found = found.get(name) if found else None
    return found


def _histogram(now: dict[str, Any], previous: dict[str, Any] | None) -> list[Bar]:
    """Bars from the first to the last bin that holds anything."""
    counts, edges = now["counts"], now["bins"]
    before = previous["counts"] if previous and previous["bins"] == edges else None
    used = [place for place, count in enumerate(counts) if count or (before and before[place])]
    if not used:
        return []
    places = range(used[0], used[-1] + 1)
    every = -(-len(places) // _LABELS_UNDER_A_HISTOGRAM)
    total, total_before = sum(counts), sum(before or [])
    highest = max(max(counts) / max(1, total), max(before) / max(1, total_before) if before else 0)
    return [
        Bar(
            label=_bin(edges, place),
            marked=(place - used[0]) % every == 0,
            count=counts[place],
            share=counts[place] / max(1, total),
            height=counts[place] / max(1, total) / highest,
            previous=before[place] / max(1, total_before) / highest if before else None,
        )
        for place in places
    ]


def _values(now: dict[str, Any], before: dict[str, int] | None) -> list[Bar]:
    total = max(1, sum(now["values"].values()) + now["others"])
    total_before = max(1, sum(before.values())) if before else 1
    shown = [*now["values"].items()][:_VALUES_SHOWN]
    highest = max((count for _, count in shown), default=1)
    return [
        Bar(
            label=value,
            marked=True,
            count=count,
            share=count / total,
            height=count / highest,
            previous=min(1.0, before.get(value, 0) / total_before * total / highest) if before else None,
        )
        for value, count in shown
    ]


def _bin(edges: list[float], place: int) -> str:
    if place + 1 == len(edges):
        return f"{edges[place]:g}+"
    lower, upper = edges[place], edges[place + 1]
    return f"{lower:g}" if upper - lower == 1 else f"{lower:g}-{upper:g}"


def _relations(
    results: list[ExpectationResult], statistics: dict[str, Any], manifest: Manifest
) -> list[tuple[str, int, list[str]]]:
    """What is in two places, how often, and where."""
    removed: dict[str, dict[str, int]] = {}
    for name, summary in manifest.sets.items():
        for reason, count in summary.quarantined.items():
            if reason.startswith(LEAK):
                what = f"rows left out on preparation: {reason.replace('_', ' ')}"
                removed.setdefault(what, {})[name] = count
    found = {
        what: {result.table: result.unexpected_count for result in results if result.column == column}
        for column, what in _RELATIONS.items()
    }
    found["pictures with the perceptual hash of another one"] = {
        name: alike["values"].get("true", 0)
        for name, of_table in statistics.items()
        if (alike := of_table["categories"].get("has_look_alike"))
    }
    return [
        (what, sum(counts.values()), [f"{where}: {count}" for where, count in counts.items() if count])
        for what, counts in (removed | found).items()
    ]
