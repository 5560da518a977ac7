"""What the holder of a key may spend."""

import random

import pytest

from service.engine.allowance import WINDOW_SECONDS, Allowance


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seed", range(5))
def test_on_average_a_holder_gets_the_rate(seed: int) -> None:
    made_up, clock, rate = random.Random(seed), Clock(), 50.0
    allowance, spent, last = Allowance("shop", rate, clock), 0, 0
    began = clock.now
    for _ in range(2000):
        clock.now += made_up.expovariate(5)
        if not allowance.seconds_until_open():
            last = made_up.choice([1, 20, 3000])
            allowance.spend(last)
            spent += last
    most = rate * (clock.now - began + WINDOW_SECONDS)
    assert most - 3000 - 50 * 3000 / rate < spent < most + last


def test_a_spent_allowance_opens_when_it_says() -> None:
    clock = Clock()
    allowance = Allowance("shop", 10.0, clock)
    allowance.spend(150)
    assert allowance.left() == -50
    seconds = allowance.seconds_until_open()
    clock.now += seconds - 0.2
    assert allowance.seconds_until_open() > 0
    clock.now += 0.2
    assert allowance.seconds_until_open() == 0
    clock.now += 1e6
    assert allowance.left() == 100


def test_a_rate_that_changes_forgives_nothing() -> None:
    clock = Clock()
    allowance = Allowance("shop", 10.0, clock)
    allowance.spend(150)
    allowance.rate = 100.0
    assert allowance.left() == -50
    allowance.rate = None
    assert allowance.seconds_until_open() == 0
