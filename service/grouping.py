"""Which of the waiting texts run together: padded steps cost as much as real ones, so length decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grouping:
    """A provider's cost of one call of `rows` texts padded to `tokens`: `call + tokens * (step + row * rows)`.

    The unit is one time step of one text alone, so `step + row` is 1. Measured: `python -m benchmarks grid`.
    """

    call: float  # what any call costs
    step: float  # share of a time step that does not depend on the rows
    row: float  # share that each row adds
    max_rows: int
    max_tokens: int  # padded, a call; one text is always taken
    window: int  # of the oldest that wait, how many are looked at
    worth: float  # what a time step of a text costs in the groups that form under load

    def cost(self, rows: int, tokens: int) -> float:
        """The cost of one call, in time steps of a text alone."""
        return self.call + tokens * (self.step + self.row * rows)

    def choose(self, tokens: Sequence[int], head: int) -> slice:
        """The run of `tokens` (ascending, one entry a text) to call next: the one with `head` in it that costs least
        over what its texts are worth, so that a text joins only where it would hardly find better company later.

        `head` is the index of the text that came first: it never waits for another batch.
        """
        best, least, worth = slice(head, head + 1), math.inf, 0.0
        for end in range(head + 1, min(head + self.max_rows, len(tokens)) + 1):
            longest = tokens[end - 1]
            most = min(self.max_rows, max(1, self.max_tokens // longest))
            if end - head > most:
                break
            worth += self.worth * longest
            start, over = head, self.cost(end - head, longest) - worth
            # Each shorter one costs a row of the longest and brings its own length, the longest of them first.
            while (
                start > 0 and end - start < most and (more := self.row * longest - self.worth * tokens[start - 1]) < 0
            ):
                start, over = start - 1, over + more
            if over < least:
                best, least = slice(start, end), over
        return best


# The CPU's were measured at hidden sizes 32 to 128, one thread, fp32 (an AMD EPYC with AVX-512). CUDA's were not
# measured: they say that a row is nearly free beside the steps, which run one after another.
CPU = Grouping(call=8, step=0.27, row=0.73, max_rows=8, max_tokens=8192, window=64, worth=0.84)
CUDA = Grouping(call=50, step=0.98, row=0.02, max_rows=64, max_tokens=65536, window=256, worth=0.1)
