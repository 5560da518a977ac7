"""Which of the waiting texts run together: padded steps cost as much as real ones, so length decides."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

# Tokens of the calls that are measured. Shorter ones may be read twice (`Network.short`), and tell nothing of a step.
_SHORT, _LONG = 128, 256
_REPEATS = 10
# What a call costs the service around the network: choosing it, padding it, handing out and counting its results.
AROUND_SECONDS = 40e-6


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a call of `rows` texts padded to `tokens` costs the service: `call + tokens * steps[rows]` seconds.

    Calls have as many rows as `steps` has a key for (ascending, from 1) and at most `max_tokens`, padding included,
    unless of one row.
    """

    call: float  # seconds of any call, and of what is around it
    steps: Mapping[int, float]  # seconds of a time step, by rows
    max_tokens: int
    window: int  # of the oldest that wait, how many are looked at

    @classmethod
    def measured(
        cls, seconds: Callable[[int, int], float], rows: Iterable[int], max_tokens: int, window: int
    ) -> "Grouping":
        """Measures here and now; `seconds(rows, tokens)` runs one call of the network and tells what it took."""
        shapes = [(1, _SHORT), *((count, _LONG) for count in rows)]
        # The least of several is the time without disturbance; the first may be slow.
        short, *long = (
            min(times) for times in zip(*([seconds(*s) for s in shapes] for _ in range(_REPEATS)), strict=True)
        )
        call = max(0.0, short - _SHORT * (long[0] - short) / (_LONG - _SHORT))
        steps = {count: (whole - call) / _LONG for (count, _), whole in zip(shapes[1:], long, strict=True)}
        return cls(call + AROUND_SECONDS, steps, max_tokens, window)

    def cost(self, rows: int, tokens: int) -> float:
        """Seconds of one call and what is around it."""
        return self.call + tokens * self.steps[rows]

    def choose(self, tokens: Sequence[int], head: int) -> slice:
        """The run of `tokens` (ascending, one entry a text) to call next, in the cheapest way to call them all.

        `head` is the index of the text that came first: the run with it, since it never waits for another batch.
        """
        # Dynamic programming: the cheapest cut of the first `end` texts ends with some run of the longest of them.
        costs, sizes = [0.0], [0]
        for end, longest in enumerate(tokens, 1):
            least, size = math.inf, 1
            for rows, step in self.steps.items():
                if rows > end or (rows * longest > self.max_tokens and rows > 1):
                    break
                cost = costs[end - rows] + longest * step
                if cost < least:
                    least, size = cost, rows
            costs.append(least + self.call)
            sizes.append(size)
        end = len(tokens)
        while end - sizes[end] > head:
            end -= sizes[end]
        return slice(end - sizes[end], end)


# A CPU gains by a few rows at a time; more of them lose in the service what they gain alone, since what a larger batch
# computes no longer fits the caches that it shares with the event loop (`python -m benchmarks tuning`). On a GPU rows
# are nearly free beside the steps, which run one after another.
ROWS = {"cpu": range(1, 6), "cuda": [2**power for power in range(7)]}
MAX_TOKENS = {"cpu": 8192, "cuda": 65536}
# A wider one would make some wait longer than others save.
WINDOW = {"cpu": 16, "cuda": 256}


def measured(provider: str, seconds: Callable[[int, int], float]) -> Grouping:
    """The grouping of `provider`, "cpu" or "cuda", as measured by `seconds(rows, tokens)`."""
    return Grouping.measured(seconds, ROWS[provider], MAX_TOKENS[provider], WINDOW[provider])
