"""Chooses which waiting texts run in one call: padded steps cost as much as real ones, so length decides."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grouping:
    """Says which texts share a call: one of `rows` texts padded to `tokens` costs `call + tokens * steps[rows]`.

    The unit does not matter: the choice depends on the ratios alone. The keys of `steps` are the allowed numbers of
    rows, ascending from 1. A call of several rows has at most `max_tokens` tokens, padding included.
    """

    call: float  # the cost of a call whatever its size
    steps: Mapping[int, float]  # the cost of one time step, by rows
    max_tokens: int
    window: int  # how many texts, of those that have waited longest, are considered

    def cost(self, rows: int, tokens: int) -> float:
        """The cost of one call."""
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


# On a CPU a few rows a call are faster than one. More rows are faster still alone, yet slower in the service, since a
# larger batch no longer fits the caches that inference shares with the event loop (`python -m benchmarks tuning`). On a
# GPU a row costs little beside the steps, which run one after another.
ROWS = {"cpu": range(1, 6), "cuda": [2**power for power in range(7)]}
MAX_TOKENS = {"cpu": 8192, "cuda": 65536}
# A wider window would delay some texts by more than it saves others.
WINDOW = {"cpu": 16, "cuda": 256}

# A CPU's costs, in the time that one more row adds to a step: constants, because costs measured while a process starts
# depend on what else the machine runs at that moment, and stay for the life of the process. The true costs depend on
# the network's size, the groups hardly: `python -m benchmarks grid` compares both.
_CPU_CALL = 60.0  # includes the service's AROUND_SECONDS
_CPU_STEP = 0.5  # of a step whatever its rows

AROUND_SECONDS = 40e-6  # the service's own time per call: to choose a group, pad it and return its results
# Tokens of the calls that are measured. At fewer tokens `Network.short` may run too, which distorts the cost of a step.
_SHORT, _LONG = 128, 256
_ROUNDS = 10


def for_provider(provider: str, seconds: Callable[[int, int], float]) -> Grouping:
    """The grouping for `provider`: for "cpu" of constant costs, for "cuda" of costs measured now.

    `seconds(rows, tokens)` runs one call of the network and returns its time.
    """
    rows = ROWS[provider]
    if provider == "cpu":
        call, steps = _CPU_CALL, {count: _CPU_STEP + count for count in rows}
    else:
        call, steps = _measure(seconds, rows)
    return Grouping(call, steps, MAX_TOKENS[provider], WINDOW[provider])


def _measure(seconds: Callable[[int, int], float], rows: Iterable[int]) -> tuple[float, dict[int, float]]:
    """Seconds of a call and, by rows, of a time step; `rows` begins with 1."""
    shapes = [(1, _SHORT), *((count, _LONG) for count in rows)]
    # The minimum of each shape over all rounds: other processes make a call slower, never faster; so does a first run.
    rounds = [[seconds(*shape) for shape in shapes] for _ in range(_ROUNDS)]
    short, *long = (min(times) for times in zip(*rounds, strict=True))
    call = max(0.0, short - _SHORT * (long[0] - short) / (_LONG - _SHORT))
    steps = {count: (whole - call) / _LONG for (count, _), whole in zip(shapes[1:], long, strict=True)}
    return call + AROUND_SECONDS, steps
