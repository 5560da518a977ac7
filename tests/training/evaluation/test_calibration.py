import numpy as np
import pytest
from scipy.special import softmax

from training.evaluation import calibration
from training.evaluation.intervals import paired_interval, wilson_interval


def calibrated(count: int, seed: int) -> tuple[calibration.Floats, calibration.Booleans]:
    """Scores spread evenly from 0.5 to 1, each right as often as it says: from t on, (1 + t) / 2 of them."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.5, 1, count)
    return scores, generator.random(count) < scores


def test_wilson_interval() -> None:
    # Values of statsmodels' proportion_confint(…, method="wilson").
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    low, high = wilson_interval(22_843, 25_000)
    assert high - low == pytest.approx(0.007, abs=1e-4)


def test_paired_interval_covers_the_true_fall_19_times_in_20() -> None:
    assert paired_interval(10, 4, 100) == pytest.approx((-0.0147, 0.1323), abs=1e-4)  # by hand
    assert paired_interval(4, 10, 100) == pytest.approx((-0.1323, 0.0147), abs=1e-4)
    draws = np.random.default_rng(0).multinomial(400, (0.06, 0.03, 0.91), 2000)
    covered = [low <= 0.03 <= high for low, high in (paired_interval(lost, won, 400) for lost, won, _ in draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_calibration_error() -> None:
    scores = np.repeat([0.6, 0.9], 50)
    right = np.array([True] * 30 + [False] * 20 + [True] * 45 + [False] * 5)
    assert calibration.calibration_error(scores, right, bins=2) == pytest.approx(0)
    assert calibration.calibration_error(scores, np.ones(100, bool), bins=2) == pytest.approx(0.25)
    found = np.array(calibration.reliability(scores, right, bins=2))
    assert found.ravel().tolist() == pytest.approx([50, 0.6, 0.6, 50, 0.9, 0.9])


def test_the_temperature_that_was_put_in_is_found() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 2)) * 2
    labels = (generator.random(20_000) < softmax(logits, axis=1)[:, 1]).astype(int)
    assert calibration.fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)


def test_the_stated_rate_holds_beyond_the_reviews_it_was_chosen_on() -> None:
    true_rates, shown = [], []
    for seed in range(400):
        threshold, enough = calibration.uncertain_below(*calibrated(1000, seed), rate=0.9)
        true_rates.append((1 + threshold) / 2)
        shown.append(enough)
    assert np.mean(shown) > 0.98
    assert np.mean(np.array(true_rates) < 0.9) <= 0.08  # 5 % of draws, and the chance of the 400
    assert np.mean(true_rates) < 0.93  # and not by flagging everything


def test_too_few_reviews_show_nothing_and_scores_are_taken_at_their_word() -> None:
    scores = np.linspace(0.6, 1, 41)
    threshold, shown = calibration.uncertain_below(scores, np.ones(41, bool), 0.969)
    assert threshold == pytest.approx(0.94)
    assert not shown
    assert calibration.uncertain_below(np.full(87, 0.98), np.ones(87, bool), 0.97) == (0.98, False)
    assert calibration.uncertain_below(np.full(88, 0.98), np.ones(88, bool), 0.97) == (0.98, True)
    assert calibration.uncertain_below(np.array([0.6]), np.array([False])) == (1.0, False)


def test_equal_scores_stay_on_one_side() -> None:
    scores = np.array([0.9] * 500 + [0.8] * 500)
    right = np.array([True] * 750 + [False] * 250)
    assert calibration.uncertain_below(scores, right, 0.95) == (0.9, True)  # not somewhere among the 0.8


def test_what_is_not_flagged_and_coverage() -> None:
    scores, right = np.array([0.9, 0.6, 0.8, 0.7]), np.array([True, False, True, False])
    found = calibration.unflagged(right, scores >= 0.7)
    assert (found["reviews"], found["share"], found["accuracy"]) == (3, 0.75, pytest.approx(2 / 3))
    assert found["accuracy_interval_95"] == wilson_interval(2, 3)
    assert calibration.unflagged(right, scores > 1) == {"reviews": 0, "share": 0}
    assert calibration.coverage(scores, right) == [(0.25, 1), (0.5, 1), (0.75, 2 / 3), (1, 0.5)]
    assert len(calibration.coverage(*calibrated(5000, 0))) == 100
