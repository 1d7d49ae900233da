"""Tests and intervals against an independent program's, by simulation, and where they must not be fooled."""

import numpy as np
import pytest
from scipy import stats

from eve_core.evaluation.significance import analyse, holm, mcnemar

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
    assert found.p_value(-0.01) == 0.0  # and surely not worse


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
