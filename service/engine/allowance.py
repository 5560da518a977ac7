"""How many tokens the holder of a key may have predicted: a bucket that fills at a steady rate."""

import math
from collections.abc import Callable
from time import perf_counter

# Seconds in which an unused allowance fills: what may be spent at once. A worker counts for itself.
WINDOW_SECONDS = 10


class Allowance:
    """What the holder of the key `name` may spend: `rate` tokens a second, or any number where `rate` is None.

    A text's tokens are known only once it is tokenized, so they are spent afterwards: a request is let in while the
    allowance is above zero, and may leave it below. On average the holder gets `rate`, whatever the size of a request.
    """

    def __init__(self, name: str, rate: float | None, clock: Callable[[], float] = perf_counter) -> None:
        self.name, self.rate, self._clock = name, rate, clock
        self._level = math.inf  # cut to the most that there may be whenever it is looked at
        self._since = clock()  # when `_level` was that much

    @property
    def most(self) -> float:
        """Tokens that a full allowance holds."""
        return math.inf if self.rate is None else self.rate * WINDOW_SECONDS

    def left(self) -> float:
        """Tokens that may be spent now; below zero where more were spent than there was."""
        now = self._clock()
        if self.rate is not None:
            self._level = min(self.most, self._level + (now - self._since) * self.rate)
        self._since = now
        return self._level

    def seconds_until_open(self) -> float:
        """Seconds until the next request is let in; 0 where it is now."""
        left = self.left()
        return 0.0 if left > 0 or self.rate is None else (1 - left) / self.rate

    def spend(self, tokens: int) -> None:
        """Takes `tokens`, as many as there are or more."""
        if self.rate is not None:
            self._level = self.left() - tokens
