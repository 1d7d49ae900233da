"""Is the candidate really better? Intervals and tests for models that answered the same items.

Items that share a picture are not independent. So what is drawn again and again is pictures, with all of their items (a
cluster bootstrap); the same draws serve both models and every group of items, so that their differences are paired.
Answers that are right or wrong, on pictures of their own, are compared by McNemar's exact test, and where a margin is
asked about by Tango's score test.

Resampling says little where nearly all pictures have the same difference, since many draws then have no spread at all.
Such draws count as extreme. What is certain nonetheless, because a score is between 0 and 1, is found by Hoeffding's
inequality, and by counting the pictures where the candidate is worse: to lose more than a margin takes a share of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp, sqrt

import numpy as np
from scipy.stats import binom, binomtest, norm

_NUMBERS_AT_ONCE = 8_000_000
_NOTHING = 1e-12
"""Standard errors below are those of numbers that are all alike."""


@dataclass(frozen=True)
class Mean:
    """A mean score."""

    value: float
    """Of the items."""
    low: float
    """Lower end of its two-sided interval."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Comparison:
    """A candidate and a champion on the same items."""

    gain: float
    """Mean score of the candidate less that of the champion."""
    low: float
    """Lower end of the gain's two-sided interval."""
    high: float
    """Upper end."""
    standard_error: float
    """Of the gain."""
    statistics: np.ndarray
    """(R,) how far the gain of resampled pictures is from the gain, in their own standard errors."""
    pictures: float
    """How many there are; where they weigh differently, how many of one weight would say as much."""
    losing: float
    """Share of them, by weight, where the candidate is worse."""
    discordant: tuple[int, int] | None
    """Items that the candidate alone has right, and the champion alone, where answers are right or wrong and every item
    has a picture of its own."""

    def test(self, margin: float) -> str:
        """What `p_value` is worked out by."""
        if self.discordant is None:
            return "a bootstrap of pictures"
        return "Tango's score test" if margin else "McNemar's exact test"

    def p_value(self, margin: float) -> float:
        """How likely a gain as large as this is when the true gain is `margin`."""
        return self._p_value(margin, 1)

    def p_value_of_fall(self, margin: float) -> float:
        """How likely a gain as small as this is when the true gain is `-margin`."""
        return self._p_value(margin, -1)

    def _p_value(self, margin: float, sign: int) -> float:
        """Of the candidate's gain, or of the champion's over it (`sign` -1)."""
        if self.discordant is not None:
            wins, losses = self.discordant[::sign]
            return tango(wins, losses, round(self.pictures), margin) if margin else mcnemar(wins, losses)
        gain = sign * self.gain
        if self.standard_error == 0:  # as large as this in every picture, and -1 in those that are not here
            return float(((1 + margin) / (1 + gain)) ** self.pictures) if gain > margin else 1.0
        extreme = sign * self.statistics >= (gain - margin) / self.standard_error
        resampled = (1 + extreme.sum()) / (1 + len(self.statistics))
        hoeffding = exp(-self.pictures * max(0.0, gain - margin) ** 2 / 2)
        # Only -1 in a share `-margin` of all pictures makes the true gain as small as a negative margin.
        counted = binom.cdf(ceil(self.losing * self.pictures), int(self.pictures), -margin) if margin < 0 else 1.0
        return float(min(resampled, hoeffding, counted))

    def detectable(self, alpha: float, power: float) -> float:
        """The true gain beyond a margin that so many items find with probability `power` at error rate `alpha`."""
        if self.standard_error == 0:  # the gain for which `_p_value` is alpha
            return float((1 + self.gain) * (1 - alpha ** (1 / self.pictures)))
        return float((norm.ppf(1 - alpha) + norm.ppf(power)) * self.standard_error)


@dataclass(frozen=True)
class Group:
    """What is known about some of the items."""

    items: int
    """How many there are."""
    candidate: Mean
    """Its mean score."""
    champion: Mean | None
    """That of the champion, if there is one."""
    comparison: Comparison | None
    """Both, if there is one."""


def analyse(
    candidate: np.ndarray,
    champion: np.ndarray | None,
    clusters: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    weights: np.ndarray | None = None,
    level: float,
    rounds: int,
    seed: int,
) -> dict[str, Group]:
    """Means, intervals and differences of groups of items, from one bootstrap.

    Args:
        candidate: (N,) scores between 0 and 1.
        champion: (N,) scores of the same items; None when there is no champion.
        clusters: (N,) what an item shares with others, such as its picture.
        groups: (N,) bool by name; none may be empty.
        weights: (N,) what an item counts in a mean; all alike when None.
        level: of the intervals, such as 0.95.
        rounds: of the bootstrap.
        seed: of its draws.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    models = [candidate] if champion is None else [candidate, champion]
    weight = np.ones(len(cluster)) if weights is None else weights / weights.mean()
    columns: list[np.ndarray] = []
    for members in groups.values():
        count, *sums = (_sums(values, cluster, members) for values in (weight, *(weight * model for model in models)))
        columns += [count, *sums]
        if champion is not None:
            difference = sums[0] - sums[1]
            columns += [difference**2, difference * count, count**2]
    table = np.stack(columns, axis=1)
    drawn = _resampled(table, rounds, seed)
    each = len(columns) // len(groups)
    ends = ((1 - level) / 2, (1 + level) / 2)
    found = {}
    for place, (name, members) in enumerate(groups.items()):
        own, rows = (numbers[:, place * each : (place + 1) * each] for numbers in (drawn, table))
        own = own[own[:, 0] > 0]  # a small group may be missing from a draw
        heavy = weight[members]
        means = [_mean(scores[members], heavy, own[:, 1 + i] / own[:, 0], ends) for i, scores in enumerate(models)]
        comparison = None
        if champion is not None:
            comparison = _compare(candidate[members], champion[members], heavy, rows[rows[:, 0] > 0], own, ends)
        found[name] = Group(int(members.sum()), means[0], means[1] if champion is not None else None, comparison)
    return found


def mcnemar(wins: int, losses: int) -> float:
    """One-sided exact test: among items that only one of two models has right, is it the candidate more often than
    chance says? Numbers of either -> p value.
    """
    return float(binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0


def tango(wins: int, losses: int, items: int, margin: float) -> float:
    """One-sided score test of a paired difference of shares (Tango 1998): how likely so many wins over losses are when
    the difference is `margin`. Items that only one of two models has right, all items -> p value.
    """
    # The likeliest share of losses when the difference is `margin`: the root of 2 N q^2 + b q - losses m (1 - m).
    b = (2 * items - wins + losses) * margin - wins - losses
    share = (sqrt(b * b + 8 * items * losses * margin * (1 - margin)) - b) / (4 * items)
    spread = sqrt(items * max(0.0, 2 * share + margin * (1 - margin)))
    beyond = wins - losses - items * margin
    return float(norm.sf(beyond / spread)) if spread else float(beyond <= 0)


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Which of several hypotheses are rejected, so that a true one is with probability `alpha` at most (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def _compare(
    candidate: np.ndarray,
    champion: np.ndarray,
    weight: np.ndarray,
    clusters: np.ndarray,
    drawn: np.ndarray,
    ends: tuple[float, float],
) -> Comparison:
    """`clusters`: (K, 6) weight, sum of either's scores, and what the spread of their difference is made of; `drawn`:
    (R, 6) the same, summed over resampled clusters.
    """
    number = len(clusters)
    (gain,), (error,) = _gains(clusters.sum(0, keepdims=True), number)
    means, errors = _gains(drawn, number)
    deviations = means - gain
    with np.errstate(divide="ignore", invalid="ignore"):
        # A draw of pictures that are all alike says nothing about the spread.
        statistics = np.where(errors > 0, deviations / errors, np.sign(deviations) * np.inf)
    statistics = np.where(np.isnan(statistics), 0.0, statistics)
    # A gain is between -1 and 1, however little the draws say.
    low, high = (
        float(np.clip(gain - float(np.quantile(statistics, end, method="nearest")) * float(error), -1, 1))
        for end in ends[::-1]
    )
    discordant = None
    alone = number == len(candidate) and np.ptp(weight) == 0
    if alone and all(np.isin(scores, (0.0, 1.0)).all() for scores in (candidate, champion)):
        discordant = int((candidate > champion).sum()), int((candidate < champion).sum())
    total, squares = clusters[:, 0].sum(), clusters[:, 5].sum()
    pictures = float(total**2 / squares)
    losing = float(clusters[clusters[:, 1] < clusters[:, 2], 0].sum() / total)
    if not error:
        low = high = gain
    return Comparison(gain, low, high, float(error), statistics, pictures, losing, discordant)


def _gains(sums: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, 6) sums over `number` clusters, see `_compare` -> (S,) gains, each a ratio of two sums, and (S,) their
    standard errors.
    """
    total, ours, theirs, squares, products, counts = sums.T
    gain = (ours - theirs) / total
    residual = np.maximum(squares - 2 * gain * products + gain**2 * counts, 0.0)
    error = np.sqrt(number / max(1, number - 1) * residual) / total
    return gain, np.where(error > _NOTHING, error, 0.0)


def _mean(scores: np.ndarray, weight: np.ndarray, resampled: np.ndarray, ends: tuple[float, float]) -> Mean:
    """By percentiles; Wilson's interval where all scores are alike, which resampling cannot spread."""
    value = float(np.average(scores, weights=weight))
    if np.ptp(scores) == 0:
        wilson = binomtest(round(float(scores.sum())), len(scores)).proportion_ci(ends[1] - ends[0], method="wilson")
        return Mean(value, float(wilson.low), float(wilson.high))
    low, high = np.quantile(resampled, ends)
    return Mean(value, float(low), float(high))


def _sums(values: np.ndarray, cluster: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(K,) sum over a cluster's members."""
    return np.bincount(cluster[members], weights=values[members], minlength=int(cluster.max()) + 1)


def _resampled(columns: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    """(K, C) numbers of K clusters -> (R, C) their sums over clusters that are drawn with replacement."""
    generator, number = np.random.default_rng(seed), len(columns)
    step = max(1, _NUMBERS_AT_ONCE // number)
    sums = []
    for start in range(0, rounds, step):
        rows = min(step, rounds - start)
        drawn = generator.integers(0, number, (rows, number), dtype=np.int32) + number * np.arange(rows)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=rows * number).reshape(rows, number)
        sums.append(times.astype(float) @ columns)
    return np.concatenate(sums)
