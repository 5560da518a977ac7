"""The texts of a request, and their sentences, as the network reads them: what the engine puts into the queue."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple

from service.model.classifier import Classifier
from service.model.sentences import split
from service.model.tokenizer import BlankText, Encoded, tokens

# After so much work other requests have their turn: characters tokenized at once, tokens of a longer text, and marks
# that may end a sentence.
_SLICE_CHARACTERS = 16_384
_SLICE_TOKENS = 4_096
_SLICE_MARKS = 256
_TEXT_CHARACTERS = 64  # what a text takes whatever its length, as so many characters

MAX_SENTENCES_A_TEXT = 200
MAX_SENTENCES_A_REQUEST = 512


class BadText(ValueError):
    """One of the texts cannot be answered; `index` says which."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class BlankAt(BadText):
    """The text is blank."""


class TooLong(BadText):
    """The text has too many characters."""


class TooManySentences(BadText):
    """The text has more sentences than are answered."""


class TooManyTogether(ValueError):
    """The texts of a request together have more sentences than are answered."""


class Late(Exception):
    """The deadline passed before all texts were answered."""


class Span(NamedTuple):
    """Where a sentence stands in its text, and in `Items.encoded`: a text of one sentence is encoded once."""

    start: int
    end: int
    item: int


class Items(NamedTuple):
    """What a request puts into the queue."""

    encoded: list[Encoded]  # the texts that are answered, in order, then the sentences
    sentences: list[list[Span]] | None  # [text answered]
    failed: dict[int, BadText]  # by the text's place in the request


async def encode(
    classifier: Classifier,
    texts: Sequence[str],
    deadline: float,
    *,
    evidence: bool = False,
    sentences: bool = False,
    partial: bool = False,
    max_characters: int | None = None,
) -> Items:
    """Tokenizes on the event loop, with pauses for other requests, until `deadline` (perf_counter seconds).

    With `evidence` the texts, not their sentences, get spans. With `partial` a bad text is told in `failed`.
    Raises Late, TooManyTogether and, unless `partial`, BadText.
    """
    encoder = _Encoder(classifier, deadline)
    encoded, failed = list[Encoded](), dict[int, BadText]()
    parts = list[tuple[str, list[tuple[int, int]]]]()
    for index, text in enumerate(texts):
        try:
            if max_characters is not None and len(text) > max_characters:
                raise TooLong(index, f"expected at most {max_characters} characters, found {len(text)}")
            spans = await encoder.split(index, text) if sentences else []
            try:
                encoded.append(await encoder.encode(text, evidence))
            except BlankText as error:
                raise BlankAt(index, str(error)) from None
            parts.append((text, spans))
        except BadText as error:
            if not partial:
                raise
            failed[index] = error
    if not sentences:
        return Items(encoded, None, failed)
    total = sum(len(spans) for _, spans in parts)
    if total > MAX_SENTENCES_A_REQUEST:
        expected = f"expected at most {MAX_SENTENCES_A_REQUEST} sentences in a request"
        raise TooManyTogether(f"{expected}, found {total}; send fewer texts at a time")
    placed = [await encoder.place(number, text, spans, encoded) for number, (text, spans) in enumerate(parts)]
    return Items(encoded, placed, failed)


class _Encoder:
    """Tokenizes texts one after another, and pauses before one that would make a turn of the event loop too long."""

    def __init__(self, classifier: Classifier, deadline: float) -> None:
        self._classifier, self._deadline = classifier, deadline
        self._since_pause = 0  # characters tokenized
        self._marks = 0  # looked at since a pause

    async def encode(self, text: str, evidence: bool = False) -> Encoded:
        """Encodes a text. Raises BlankText, Late."""
        self._since_pause += len(text) + _TEXT_CHARACTERS
        if self._since_pause > _SLICE_CHARACTERS + _TEXT_CHARACTERS:
            await self._pause()
            self._since_pause = len(text)
        tokenizer = self._classifier.tokenizer
        if len(text) <= _SLICE_CHARACTERS:
            return tokenizer.encode(text, evidence)
        collected, stream = list[tuple[str, int, int]](), tokens(text, tokenizer.rules)
        while part := list(islice(stream, _SLICE_TOKENS)):
            collected += part
            await self._pause()
        return tokenizer.encode_tokens(text, collected, spans=evidence)

    async def split(self, index: int, text: str) -> list[tuple[int, int]]:
        """The sentences of a text: start and end. Raises TooManySentences, Late."""
        marks, spans = split(text), list[tuple[int, int]]()
        while part := list(islice(marks, _SLICE_MARKS - self._marks)):
            spans += [span for span in part if span is not None]
            self._marks += len(part)
            if self._marks == _SLICE_MARKS:
                self._marks = 0
                await self._pause()
        if len(spans) > MAX_SENTENCES_A_TEXT:
            expected = f"expected at most {MAX_SENTENCES_A_TEXT} sentences in a text"
            raise TooManySentences(index, f"{expected}, found {len(spans)}; send it in parts")
        return spans

    async def place(self, number: int, text: str, spans: list[tuple[int, int]], encoded: list[Encoded]) -> list[Span]:
        """Encodes the sentences of `text`, whose own place in `encoded` is `number`, and adds them there. Raises Late.

        A sentence that is blank for the tokenizer is left out: it is broken HTML, such as `<br<br />/>`.
        """
        placed = list[Span]()
        for start, end in spans:
            if end - start == len(text):
                placed.append(Span(start, end, number))
                continue
            with contextlib.suppress(BlankText):
                encoded.append(await self.encode(text[start:end]))
                placed.append(Span(start, end, len(encoded) - 1))
        return placed

    async def _pause(self) -> None:
        """Lets other requests run. Raises Late past the deadline, since nobody waits for the remaining tokens."""
        await asyncio.sleep(0)
        if perf_counter() >= self._deadline:
            raise Late
