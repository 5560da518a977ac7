"""Who is let into the queue: room for the texts and tokens of a request, and time to answer it before its deadline."""

import math

_KEEP = 0.98  # factor on the earlier batches at each new one: the measured rate is that of the last fifty or so


class Overloaded(Exception):
    """There is no room for the whole request, or not enough time; `retry_seconds` says when to try again."""

    def __init__(self, reason: str, retry_seconds: float) -> None:
        super().__init__(reason)
        self.retry_seconds = max(1, math.ceil(retry_seconds))


class Closed(Exception):
    """The service is stopping: nothing more is admitted, and what still waited was given up."""

    def __init__(self) -> None:
        super().__init__("the service is stopping and did not answer this request")


class Admission:
    """Counts waiting texts, measures how fast they are predicted, and refuses what would exceed a limit.

    The queue holds at most `max_texts` and `max_tokens`, but an empty one takes a request of any size.
    """

    def __init__(self, max_texts: int, max_tokens: int) -> None:
        self._max_texts, self._max_tokens = max_texts, max_tokens
        self._rate_tokens = self._rate_seconds = 0.0
        self.texts = self.tokens = 0  # in the queue: no batch has taken them yet
        self.closed = False

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens predicted per second of work, over the last batches; None before the first batch."""
        return self._rate_tokens / self._rate_seconds if self._rate_seconds else None

    def check(self, texts: int, tokens: int, seconds_left: float) -> None:
        """Raises Closed, or Overloaded where a request of this size would find no room or no time."""
        if self.closed:
            raise Closed
        if not self.texts:
            return
        rate = self.tokens_per_second
        excess = self.tokens + tokens - self._max_tokens
        if self.texts + texts > self._max_texts or excess > 0:
            needed = max(excess, self.tokens / self.texts * texts)
            raise Overloaded(
                f"expected room for {texts} more texts ({tokens} tokens), found {self.texts} of "
                f"{self._max_texts} places and {self.tokens} of {self._max_tokens} tokens taken",
                needed / rate if rate else 1,
            )
        if rate and (wait := (self.tokens + tokens) / rate) > seconds_left:
            raise Overloaded(
                f"expected an answer within {seconds_left:.3f} s, found {wait:.3f} s of work waiting",
                wait - seconds_left,
            )

    def enter(self, texts: int, tokens: int) -> None:
        """Counts a request that was admitted."""
        self.texts += texts
        self.tokens += tokens

    def leave(self, texts: int, tokens: int) -> None:
        """Counts what no longer waits: a batch took it, or its caller gave up."""
        self.texts -= texts
        self.tokens -= tokens

    def measure(self, tokens: int, seconds: float) -> None:
        """Adds a batch of `tokens` to the rate. `seconds` is the time since the last one ended, without pauses."""
        self._rate_tokens = self._rate_tokens * _KEEP + tokens
        self._rate_seconds = self._rate_seconds * _KEEP + seconds
