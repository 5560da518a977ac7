"""Cuts texts into groups, each of which one request carries."""

import json
from typing import NamedTuple

from service.client.results import Failure, Limits, Problem

# Larger requests are no faster (`python -m benchmarks closed`), and are refused more often by a service that is busy.
MOST_TEXTS = 64
MOST_BYTES = 2**20


class Group(NamedTuple):
    """Consecutive texts of a call: each as JSON, or the Failure of one that cannot be sent."""

    first: int  # index of the first text
    texts: list[bytes | Failure]


class Groups:
    """Takes texts one after another, and gives a group whenever one is full."""

    def __init__(self, limits: Limits) -> None:
        self._most_texts = min(MOST_TEXTS, limits.max_texts)
        self._most_bytes = min(MOST_BYTES, limits.max_body_bytes // 2)
        self._first = 0
        self._texts: list[bytes | Failure] = []
        self._bytes = 0

    def add(self, text: str) -> Group | None:
        """Adds a text; gives the group that was full before it. Raises TypeError."""
        encoded = encode(text, self._first + len(self._texts))
        size = 0 if isinstance(encoded, Failure) else len(encoded)
        full = len(self._texts) == self._most_texts or (self._texts and self._bytes + size > self._most_bytes)
        group = self.rest() if full else None
        self._texts.append(encoded)
        self._bytes += size
        return group

    def rest(self) -> Group | None:
        """The texts that were added since the last group; None where there are none."""
        if not self._texts:
            return None
        group = Group(self._first, self._texts)
        self._first += len(self._texts)
        self._texts, self._bytes = [], 0
        return group


def encode(text: str, index: int) -> bytes | Failure:
    """`text` as JSON in UTF-8. Raises TypeError where it is no text."""
    if not isinstance(text, str):
        raise TypeError(f"text {index}: expected a str, found {type(text).__name__}")
    try:
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        detail = "expected Unicode text, found lone surrogates: decode the text with its own encoding"
        return Failure(index, Problem(422, "invalid", detail))
