"""Tests and intervals against an independent program's, by simulation, and where they must not be fooled."""

import numpy as np
import pytest
from scipy import optimize, stats

from eve_core.evaluation.significance import analyse, holm, mcnemar, tango

pytestmark = pytest.mark.slow


def everything(candidate, champion, clusters, **settings):
    settings = {"level": 0.95, "rounds": 2000, "seed": 0, **settings}
    found = analyse(candidate, champion, clusters, {"all": np.ones(len(candidate), dtype=bool)}, **settings)
    return found["all"]


def test_mcnemar_is_the_exact_binomial_test_of_what_only_one_has_right():
    assert mcnemar(9, 1) == pytest.approx(11 / 1024)  # 1 + 10 of 2^10 outcomes are as good
    assert mcnemar(5, 5) > 0.5
    assert mcnemar(0, 0) == 1.0


def test_holm_rejects_step_by_step():
    # 0.01 <= 0.05 / 4, 0.016 <= 0.05 / 3, 0.03 > 0.05 / 2: the last two stay, though 0.04 is below 0.05.
    assert holm([0.04, 0.01, 0.03, 0.016], 0.05) == [False, True, False, True]
    assert holm([], 0.05) == []


def test_intervals_and_p_values_are_those_of_another_bootstrap():
    draw = np.random.default_rng(1)
    candidate, champion = draw.random(300), draw.random(300) - 0.02
    found = everything(candidate, champion, np.arange(300), rounds=20_000)
    theirs = stats.bootstrap((candidate,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert (found.candidate.low, found.candidate.high) == pytest.approx(theirs.confidence_interval, abs=0.003)
    student = stats.ttest_rel(candidate, champion, alternative="greater")
    assert found.comparison.p_value(0.0) == pytest.approx(student.pvalue, abs=0.01)
    between = student.confidence_interval(0.975)
    assert found.comparison.low == pytest.approx(between.low, abs=0.003)


def test_items_of_one_picture_count_as_one():
    """The same fifty pictures ten times over are no five hundred."""
    draw = np.random.default_rng(3)
    candidate, champion = draw.random(50), draw.random(50)
    alone = everything(candidate, champion, np.arange(50))
    repeated = everything(np.repeat(candidate, 10), np.repeat(champion, 10), np.repeat(np.arange(50), 10))
    assert repeated.comparison.standard_error == pytest.approx(alone.comparison.standard_error)
    assert repeated.comparison.p_value(0.0) == pytest.approx(alone.comparison.p_value(0.0))
    naive = everything(np.repeat(candidate, 10), np.repeat(champion, 10), np.arange(500))
    assert naive.comparison.standard_error < alone.comparison.standard_error / 2.5


def test_weights_make_the_mean_that_they_are_of():
    scores, weights = np.array([1.0, 0.0, 0.0, 1.0] * 10), np.array([0.5, 0.5, 1 / 6, 1 / 6] * 10)
    found = everything(scores, None, np.arange(40), weights=weights)
    assert found.candidate.value == pytest.approx(np.average(scores, weights=weights))
    assert found.candidate.low < found.candidate.value < found.candidate.high


def test_models_that_answer_alike_are_no_better_than_each_other():
    same = np.random.default_rng(0).random(100)
    found = everything(same, same.copy(), np.arange(100)).comparison
    assert (found.gain, found.low, found.high, found.p_value(0.0)) == (0.0, 0.0, 0.0, 1.0)
    assert found.p_value(-0.01) == pytest.approx(0.99**100)  # a hundred pictures cannot rule out one worse in a hundred
    assert found.detectable(0.05, 0.8) == pytest.approx(1 - 0.05 ** (1 / 100))


def test_tangos_test_is_the_likelihoods():
    """Against the share of losses that maximises the likelihood under the hypothesis, found by search."""
    for wins, losses, items, margin in ((10, 15, 200, -0.05), (30, 10, 100, 0.1), (0, 1, 1000, -0.02)):

        def unlikely(lost: float, case: tuple[int, int, int, float] = (wins, losses, items, margin)) -> float:
            won, lost_items, number, difference = case
            shares = np.array([lost + difference, lost, 1 - 2 * lost - difference])
            return -float(np.array([won, lost_items, number - won - lost_items]) @ np.log(np.maximum(shares, 1e-300)))

        ends = (max(0.0, -margin) + 1e-12, (1 - margin) / 2)
        lost = optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
        spread = np.sqrt(items * (2 * lost + margin * (1 - margin)))
        z = (wins - losses - items * margin) / spread
        assert tango(wins, losses, items, margin) == pytest.approx(stats.norm.sf(z), rel=1e-4)
    assert tango(0, 0, 10, -0.02) > 0.3  # ten items say little


@pytest.mark.parametrize("items_a_picture", [1, 2])
def test_a_slice_that_breaks_down_falls_however_alike_its_items_are(items_a_picture):
    for items, right in ((100, 95), (100, 97), (50, 48), (1000, 999)):
        pictures = np.arange(items) // items_a_picture
        found = everything(np.zeros(items), (np.arange(items) < right).astype(float), pictures).comparison
        assert found.p_value_of_fall(0.05) < 1e-4


@pytest.mark.parametrize("items_a_picture", [1, 2])
def test_who_loses_fewer_items_is_not_refused_before_who_loses_more(items_a_picture):
    p_values = []
    for losses in (0, 1, 3, 5, 15, 30):
        candidate = (np.arange(1000) >= losses * items_a_picture).astype(float)
        pictures = np.arange(1000) // items_a_picture
        p_values.append(everything(candidate, np.ones(1000), pictures).comparison.p_value(-0.02))
    assert p_values == sorted(p_values)
    assert p_values[1] < 0.001
    assert p_values[-1] > 0.5


def test_items_of_a_single_picture_prove_nothing():
    candidate, champion = (np.arange(400) < 201).astype(float), (np.arange(400) < 200).astype(float)
    found = everything(candidate, champion, np.zeros(400)).comparison
    assert found.p_value(0.0) > 0.9
    assert found.detectable(0.05, 0.8) > 0.9


@pytest.mark.parametrize("wins", [0.0, 0.02])
@pytest.mark.parametrize("items_a_picture", [1, 2])
def test_a_candidate_worse_by_the_margin_is_not_called_as_good(wins, items_a_picture):
    """It hardly wins anything, which is where resampling knows least. A rate of 5 % is found below 7.5 % 99.9 % of the
    time.
    """
    draw, blessed = np.random.default_rng(7), 0
    for _ in range(1000):
        fate = np.repeat(draw.random(200 // items_a_picture), items_a_picture)
        candidate, champion = (fate >= wins + 0.05).astype(float), (fate < 1 - wins).astype(float)
        found = everything(candidate, champion, np.arange(200) // items_a_picture, rounds=1000).comparison
        blessed += found.p_value(-0.05) <= 0.05
    assert blessed / 1000 < 0.075


def test_scores_that_are_all_right_are_no_certainty():
    found = everything(np.ones(20), None, np.arange(20)).candidate
    assert found.value == 1.0
    assert found.low < 0.9


@pytest.mark.parametrize("kind", ["right or wrong", "soft", "clustered"])
def test_a_gate_blesses_equal_models_no_more_often_than_it_says(kind):
    """10,000 pairs of equal models of 200 items each. A rate of 5 % is found within 0.65 % of it 99.9 % of the time."""
    draw, blessed, alpha, simulations = np.random.default_rng(5), 0, 0.05, 10_000
    for _ in range(simulations):
        shared = draw.random(200)  # how hard the items are, for both
        if kind == "right or wrong":
            one, other = ((draw.random(200) < shared).astype(float) for _ in range(2))
            clusters = np.arange(200)
        elif kind == "soft":
            one, other = (np.minimum(1, draw.binomial(10, shared) * 0.3) for _ in range(2))
            clusters = np.arange(200)
        else:
            clusters = np.repeat(np.arange(40), 5)
            picture = np.repeat(draw.random(40), 5)
            one, other = ((draw.random(200) < picture).astype(float) for _ in range(2))
        found = everything(one, other, clusters, rounds=200).comparison
        blessed += found.p_value(0.0) <= alpha
    assert blessed / simulations <= alpha + 0.0065
    assert blessed / simulations > alpha / 4  # nor is it so careful that nothing is ever found
