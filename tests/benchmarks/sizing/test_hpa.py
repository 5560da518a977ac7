"""The autoscaler's arithmetic: examples of Kubernetes' documentation, and what must hold for all."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sizing.hpa import DOWN, SYNC_SECONDS, UP, Autoscaler, Policy, Rules, desired

SPEC = {
    "minReplicas": 2,
    "maxReplicas": 50,
    "behavior": {
        "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15},
                                 {"type": "Pods", "value": 4, "periodSeconds": 15}]},
        "scaleDown": {"stabilizationWindowSeconds": 120,
                      "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]},
    },
}  # fmt: skip

values = st.lists(st.integers(0, 5000), min_size=1, max_size=30)
recommendations = st.lists(st.integers(0, 80), min_size=1, max_size=80)


def course(scaler: Autoscaler, recommended: list[int], current: int = 2) -> list[int]:
    """The pods after each look."""
    found = []
    for index, one in enumerate(recommended):
        current = scaler.step(index * SYNC_SECONDS, current, one)
        found.append(current)
    return found


def test_the_examples_of_the_documentation() -> None:
    assert desired(1, 100, [200]) == 2
    assert desired(2, 100, [50, 50]) == 1
    assert desired(10, 100, [109] * 10) == 10  # within the tolerance
    assert desired(10, 100, [111] * 10) == 12


def test_pods_without_figures_hold_it_back() -> None:
    assert desired(4, 100, [200, 200], unready=2) == 4  # they will halve it
    assert desired(4, 100, [400, 400], unready=2) == 8
    assert desired(4, 100, [200, 200], missing=2) == 4
    assert desired(4, 100, [10, 10], missing=2) == 3  # rather than 1
    assert desired(4, 100, [], unready=4) == 4
    assert desired(4, 100, [210, 210], unready=2) == 4  # within the tolerance once they run
    assert desired(5, 100, [150, 150], unready=3) == 5  # too many once they run: no reason to go down now
    assert desired(10, 100, [200] * 3, missing=1) == 10  # too much load is no reason for 6


@settings(deadline=None)
@given(values, st.integers(1, 1000), st.integers(0, 5), st.integers(0, 5))
def test_no_pod_without_figures_makes_it_overshoot(found: list[int], target: int, unready: int, missing: int) -> None:
    current = len(found) + unready + missing
    result = desired(current, target, found, unready, missing)
    alone = math.ceil(sum(found) / target)
    assert result <= max(current, alone)
    if sum(found) // len(found) > target:
        assert result >= min(current, alone - 1)


@settings(deadline=None)
@given(values, values, st.integers(1, 1000))
def test_more_load_never_asks_for_fewer(found: list[int], more: list[int], target: int) -> None:
    higher = [one + extra for one, extra in zip(found, more, strict=False)] + found[len(more) :]
    assert desired(len(found), target, found) <= desired(len(found), target, higher)


@settings(deadline=None)
# Thousandths: of a lower target, what the whole mean drops is more than the tolerance, and it never rests.
@given(st.integers(1, 1_000_000), st.integers(11, 1000))
def test_a_steady_load_comes_to_rest_within_the_tolerance(load: int, target: int) -> None:
    pods = max(1, load // target // 3)
    for _ in range(10):
        each, rest = divmod(load, pods)
        pods, before = max(1, desired(pods, target, [each + 1] * rest + [each] * (pods - rest))), pods
    assert pods == before
    assert pods == 1 or load // pods / target <= 1.1
    assert pods == 1 or load // (pods - 1) / target > 0.9


@settings(deadline=None)
@given(recommendations)
def test_it_stays_within_its_bounds(recommended: list[int]) -> None:
    assert all(2 <= pods <= 50 for pods in course(Autoscaler(SPEC), recommended))
    assert all(2 <= pods <= 50 for pods in course(Autoscaler(SPEC), recommended, current=70))
    assert all(2 <= pods <= 50 for pods in course(Autoscaler(SPEC), recommended, current=1))


@settings(deadline=None)
@given(recommendations)
def test_up_at_most_twofold_or_by_four(recommended: list[int]) -> None:
    before = 2
    for pods in course(Autoscaler(SPEC), recommended):
        assert pods <= max(2 * before, before + 4)
        before = pods


@settings(deadline=None)
@given(recommendations)
def test_down_at_most_a_tenth_a_minute(recommended: list[int]) -> None:
    found = [40, *course(Autoscaler(SPEC), recommended, current=40)]
    period = 60 // SYNC_SECONDS
    for index, pods in enumerate(found):
        window = found[max(0, index - period + 1) : index + 1]
        removed = sum(max(0, a - b) for a, b in itertools.pairwise(window))
        assert removed <= math.ceil(max(window) / 10)
        assert pods <= 50


@settings(deadline=None)
@given(recommendations)
def test_down_only_to_what_the_whole_window_agreed_on(recommended: list[int]) -> None:
    before, window = 40, 120 // SYNC_SECONDS
    for index, pods in enumerate(course(Autoscaler(SPEC), recommended, current=40)):
        if pods < before:
            assert pods >= max(recommended[max(0, index - window + 1) : index + 1])
        before = pods


def test_it_goes_up_at_once_and_down_late() -> None:
    found = course(Autoscaler(SPEC), [2, 20, 20, 20, 20, *[2] * 40])
    assert found[:5] == [2, 6, 12, 20, 20]
    assert found[5:12] == [20] * 7  # two minutes from the last recommendation of 20
    assert found[12:17] == [18, 18, 18, 18, 16]  # then a tenth a minute


def test_it_ends_at_its_least() -> None:
    found = course(Autoscaler(SPEC), [0] * 200, current=50)
    assert (found[-1], min(found)) == (2, 2)


def test_defaults_and_disabled() -> None:
    assert Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)), "Max") == UP
    assert Rules(300, (Policy("Percent", 100, 15),), "Max") == DOWN
    scaler = Autoscaler({"maxReplicas": 10})
    assert (scaler.minimum, scaler.up, scaler.down) == (1, UP, DOWN)
    frozen = Autoscaler({"maxReplicas": 10, "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}})
    assert course(frozen, [1] * 60, current=8) == [8] * 60
    least = Autoscaler({"maxReplicas": 90, "behavior": {"scaleUp": {"selectPolicy": "Min"}}})
    assert course(least, [90, 90], current=10) == [14, 18]
