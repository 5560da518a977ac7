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

    The queue holds at most `max_texts` and `max_tokens`, but an empty one takes a request of any size. Whatever waits
    now has left after `max_seconds`, so nobody is told to come back later than that.
    """

    def __init__(self, max_texts: int, max_tokens: int, max_seconds: float = math.inf) -> None:
        self._max_texts, self._max_tokens, self._max_seconds = max_texts, max_tokens, max_seconds
        self._measured_texts = self._measured_tokens = self._measured_seconds = 0.0
        self.texts = self.tokens = 0  # in the queue: no batch has taken them yet
        self.closed = False

    def seconds(self, texts: float, tokens: float) -> float:
        """How long so much work takes, at the rate of the last batches; 0 before the first.

        The time of a batch grows with its texts and with its tokens; the share of each is not measured. So this
        computes one estimate from the number of texts and one from the number of tokens, and returns the lesser.
        After batches of one-word texts, the estimate from tokens would be a hundred times too long for reviews. For
        texts as long as the measured ones the two estimates are equal.
        """
        if not self._measured_texts:
            return 0.0
        return self._measured_seconds * min(texts / self._measured_texts, tokens / self._measured_tokens)

    def check(self, texts: int, tokens: int, seconds_left: float) -> None:
        """Raises Closed, or Overloaded where a request of this size would find no room or no time.

        Before the body of a request is read, its size is not known: then `texts` is 1 and `tokens` 0.
        """
        if self.closed:
            raise Closed
        if not self.texts:
            return
        what = "1 text" if texts == 1 else f"{texts} texts or sentences"  # several may be a text and its sentences
        size = f"{what} ({tokens} tokens)" if tokens else "at least one text"
        excess = (
            (self.texts + texts - self._max_texts) / self.texts,
            (self.tokens + tokens - self._max_tokens) / self.tokens,
        )
        if (share := max(excess)) > 0:  # of the queue, which has to leave first
            raise Overloaded(
                f"expected room for {size}, found {self.texts} of {self._max_texts} places and {self.tokens} of "
                f"{self._max_tokens} tokens taken",
                min(min(1.0, share) * self.seconds(self.texts, self.tokens), self._max_seconds),
            )
        wait = self.seconds(self.texts + texts, self.tokens + tokens)
        if wait > seconds_left:
            raise Overloaded(
                f"expected an answer to {size} within {seconds_left:.3f} s, found {wait:.3f} s of work waiting",
                min(wait - seconds_left, self._max_seconds),
            )

    def enter(self, texts: int, tokens: int) -> None:
        """Counts a request that was admitted."""
        self.texts += texts
        self.tokens += tokens

    def leave(self, texts: int, tokens: int) -> None:
        """Counts what no longer waits: a batch took it, or its caller gave up."""
        self.texts -= texts
        self.tokens -= tokens

    def measure(self, texts: int, tokens: int, seconds: float) -> None:
        """Adds a batch to the rate. `seconds` is the time since the last one ended, without pauses."""
        self._measured_texts = self._measured_texts * _KEEP + texts
        self._measured_tokens = self._measured_tokens * _KEEP + tokens
        self._measured_seconds = self._measured_seconds * _KEEP + seconds
