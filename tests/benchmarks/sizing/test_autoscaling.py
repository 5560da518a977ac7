"""The simulated day: nothing is lost from the books, and the manifests' autoscaler does what the README says of it."""

import numpy as np
import pytest

from benchmarks.sizing.autoscaling import Case, Floats, autoscaler_spec, simulate, table, targets, traffic
from service.settings import Settings

RATE = 100.0
SPEC = autoscaler_spec()
CPU, QUEUE = ("cpu", targets(SPEC)["cpu"]), ("queue", targets(SPEC)["queue"])


def crowd(seconds: int, factor: float) -> Floats:
    """Reviews a second: two pods' load, and after a third of the time so many times that."""
    usual = np.full(seconds, 1.2 * RATE)
    usual[seconds // 3 :] *= factor
    return usual


def test_every_review_is_answered_or_refused() -> None:
    reviews = crowd(300, 10)
    day = simulate(Case("few", fixed=3), reviews, RATE, SPEC)
    came = np.random.default_rng(1).poisson(reviews).sum()
    assert day.counts.sum() + sum(day.refused) == pytest.approx(came, abs=300)


def test_too_few_pods_refuse_what_is_too_much() -> None:
    reviews = np.full(600, 4 * RATE)
    day = simulate(Case("half", fixed=2), reviews, RATE, SPEC)
    assert sum(day.refused[60:]) / reviews[60:].sum() == pytest.approx(0.5, abs=0.02)
    assert day.wait_ms(50) == pytest.approx(
        Settings.model_fields["max_waiting_texts"].default / RATE * 1e3, rel=0.1
    )  # behind a full queue


def test_enough_pods_refuse_nothing_and_wait_as_a_queue_does() -> None:
    day = simulate(Case("twice", fixed=2), np.full(3600, RATE), RATE, SPEC)
    assert not any(day.refused)
    # M/M/1 at half load: P(wait > t) = 0.5 exp(-0.5 rate t); busier seconds, which weigh more, add some.
    assert day.wait_ms(45) < 0.1
    assert day.wait_ms(99) == pytest.approx(np.log(50) / (RATE / 2) * 1e3, rel=0.2)


def test_a_crowd_is_met_sooner_with_the_queue_than_by_cpu_alone() -> None:
    reviews = crowd(900, 8)
    cases = [Case("", (CPU,), 0, 10), Case("", (CPU, QUEUE), 0, 10), Case("", (CPU, QUEUE), 0, 90)]
    cpu, both, slow = (simulate(case, reviews, RATE, SPEC) for case in cases)
    assert 0 < sum(both.refused) < sum(cpu.refused)
    enough = reviews[-1] / RATE
    at_cpu, at_both, at_slow = (
        next(second for second, pods in enumerate(day.ready) if pods > enough) for day in (cpu, both, slow)
    )
    assert 300 < at_both < at_cpu
    assert at_slow == at_both + 80  # the first new pods come that much later, and nothing before them changes


def test_a_steady_load_ends_near_the_target() -> None:
    day = simulate(Case("", (CPU,), 0, 10), np.full(1800, 6 * RATE), RATE, SPEC)
    assert set(day.replicas[-600:]) <= {8, 9}  # 6 at 70 %


def test_the_day_and_its_table() -> None:
    reviews = traffic(1000, 3)
    assert len(reviews) == 86_400
    assert reviews[0] == pytest.approx(200)
    assert traffic(1000, 1).max() == pytest.approx(1000)
    part = reviews[:600]
    day = simulate(Case("fixed", fixed=3), part, RATE, SPEC)
    assert table([day], part).splitlines()[-1].startswith("| fixed | 3 to 3 | 0 |")
