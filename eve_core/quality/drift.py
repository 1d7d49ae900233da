"""Drift: how far the statistics of a data set are from those of the revision before it.

Distributions are compared by the Jensen-Shannon distance: the root of the divergence, in bits, of both from their mean.
It is symmetric, 0 for equal distributions, 1 for distributions that share no value, and defined where a bin is empty.
Two samples of one distribution differ as well. What chance alone explains is taken off the divergence first: for bins k
and rows n, m it is chi-square with k - 1 degrees of freedom times (1/n + 1/m) / (8 ln 2), of which the mean and three
standard deviations are deducted, so that small sets raise no false alarm.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eve_core.config import ValidationConfig
from eve_core.errors import UserError
from eve_core.quality.statistics import STATISTICS


@dataclass(frozen=True)
class Drift:
    """One distribution in two revisions."""

    table: str
    """Such as "captions of flickr8k"."""
    statistic: str
    """Such as words, split or answers; "rows" for a table that only one of the revisions has."""
    distance: float | None
    """Jensen-Shannon distance, 0 to 1; None where there is nothing to compare with."""
    verdict: Literal["same", "warning", "stop"]
    """What follows from it."""
    rows: int
    """Rows of the table now."""
    previous_rows: int
    """Rows of it before."""

    @property
    def sentence(self) -> str:
        """What drifted and how far."""
        if self.distance is None:
            return f"{self.table}: {self.previous_rows} rows before, {self.rows} now"
        return f"{self.table}: {self.statistic} drifted by {self.distance:.2f} from the revision before"


def read_statistics(folder: Path) -> dict[str, Any]:
    """The statistics of an earlier report.

    Raises:
        UserError: `folder` is no report, or its statistics are damaged.
    """
    path = folder / STATISTICS
    try:
        statistics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        statistics["tables"], statistics["data_digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the statistics of the previous validation cannot be read from {path} ({error!r}); "
            "give the folder of an earlier report, or none"
        ) from None
    return statistics


def compare(tables: dict[str, Any], previous: dict[str, Any], config: ValidationConfig) -> list[Drift]:
    """Compare the statistics of all tables, by name, with those of the revision before."""
    found = []
    for name in sorted({*tables, *previous}):
        now, before = tables.get(name), previous.get(name)
        rows, previous_rows = (entry["rows"] if entry else 0 for entry in (now, before))
        if not now or not before:
            found.append(Drift(name, "rows", None, "same" if now else "warning", rows, previous_rows))
            continue
        for statistic, (here, there) in _counts(now, before).items():
            distance = jensen_shannon_distance(here, there, (rows, previous_rows))
            found.append(Drift(name, statistic, distance, _verdict(distance, config), rows, previous_rows))
    return found


def jensen_shannon_distance(here: np.ndarray, there: np.ndarray, rows: tuple[int, int]) -> float:
    """Distance of two distributions, less what chance explains.

    Args:
        here, there: counts over the same bins.
        rows: independent rows that each was counted from, where a row counts more than once.

    Returns:
        0 to 1.
    """
    if not here.sum() or not there.sum():
        return float(here.sum() != there.sum())
    both = (here + there) > 0
    p, q = (counts[both] / counts.sum() for counts in (here, there))
    divergence = (_divergence(p, (p + q) / 2) + _divergence(q, (p + q) / 2)) / 2
    freedom = int(both.sum()) - 1
    samples = (min(int(counts.sum()), number) for counts, number in zip((here, there), rows, strict=True))
    by_chance = (freedom + 3 * math.sqrt(2 * freedom)) * sum(1 / number for number in samples) / (8 * math.log(2))
    return math.sqrt(max(0.0, divergence - by_chance))


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Kullback-Leibler divergence in bits of p from q, which is nowhere 0."""
    used = p > 0
    return float(np.sum(p[used] * np.log2(p[used] / q[used])))


def _verdict(distance: float, config: ValidationConfig) -> Literal["same", "warning", "stop"]:
    if distance > config.drift_stop:
        return "stop"
    return "warning" if distance > config.drift_warning else "same"


def _counts(now: dict[str, Any], before: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By statistic that both have, its counts over the same bins."""
    numbers = {
        name: (np.array(here["counts"]), np.array(there["counts"]))
        for name, here in now["numbers"].items()
        if (there := before["numbers"].get(name)) and here["bins"] == there["bins"]
    }
    categories = {
        name: _over_same_values(now["categories"][name], before["categories"][name])
        for name in now["categories"]
        if name in before["categories"]
    }
    return numbers | categories


def _over_same_values(now: dict[str, Any], before: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the values that either recorded, and last of all others."""
    values = sorted({*now["values"]} | {*before["values"]})
    return _filled_in(values, now, before), _filled_in(values, before, now)


def _filled_in(values: list[str], counts: dict[str, Any], other: dict[str, Any]) -> np.ndarray:
    """Counts of `values` and of the rest; where only the most frequent were recorded, `other` says what is likely.

    A value that was not recorded is at most as frequent as the least frequent one that was. It is taken to be as
    frequent as in the other revision as far as that allows: the end of a list of frequent answers is chance.
    """
    totals = [max(1, sum(of["values"].values()) + of["others"]) for of in (counts, other)]
    at_most = min(counts["values"].values()) if counts["others"] else 0
    filled = [
        counts["values"].get(value, min(at_most, other["values"].get(value, 0) * totals[0] / totals[1]))
        for value in values
    ]
    return np.array([*filled, max(0, totals[0] - sum(filled))])
