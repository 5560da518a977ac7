"""What a call returns, as frozen dataclasses; fields that a newer service adds are ignored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Token:
    """A token's share of the answer; `start` and `end` are offsets into the text, in the unit that was asked for."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What each token contributes: `bias` and all weights add up to the margin of the label."""

    bias: float
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """The answer for one sentence of the text; `start` and `end` are offsets into the text."""

    start: int
    end: int
    label: str
    score: float
    uncertain: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text. Treat one that is `uncertain` as "don't know"."""

    label: str
    score: float  # calibrated probability of `label`
    probabilities: Mapping[str, float]  # by label
    uncertain: bool
    tokens: int  # in the whole text
    truncated: bool  # the model read fewer than `tokens`
    unknown_share: float  # of the tokens read
    model: str
    evidence: Evidence | None = None  # the last three only where asked for
    mixed: bool | None = None
    sentences: tuple[Sentence, ...] | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any], model: str) -> Self:
        """From the JSON object of the service. Raises KeyError, TypeError where it is none."""
        evidence, sentences = answer.get("evidence"), answer.get("sentences")
        return cls(
            answer["label"],
            answer["score"],
            answer["probabilities"],
            answer["uncertain"],
            answer["tokens"],
            answer["truncated"],
            answer["unknown_share"],
            model,
            None if evidence is None else _evidence(evidence),
            answer.get("mixed"),
            None if sentences is None else tuple(_sentence(sentence) for sentence in sentences),
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the service did not answer: its problem document (RFC 9457), or what is known without one."""

    status: int
    error_type: str | None  # as docs/api.md lists them; None where the answer is not the service's own
    detail: str
    request_id: str | None = None  # the service's log has it
    retry_after: float | None = None  # seconds
    body: Mapping[str, Any] = field(default_factory=dict)  # the whole document

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From a problem document."""
        return cls(
            body["status"],
            body.get("error_type"),
            body.get("detail", ""),
            body.get("request_id"),
            body.get("retry_after"),
            body,
        )

    @classmethod
    def of_answer(cls, status: int, headers: Mapping[str, str], content: bytes) -> Self:
        """From an answer that is no success. A proxy's own answers have no problem document, only a status."""
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if not isinstance(body, dict) or "error_type" not in body:
            body = {}
        known = status in HTTPStatus._value2member_map_
        return cls(
            status,
            body.get("error_type"),
            body.get("detail") or (HTTPStatus(status).phrase if known else "no reason was given"),
            headers.get("x-request-id"),
            _seconds(headers.get("retry-after")),
            body,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands in the place of a text that cannot be answered; `index` counts the texts of the call from 0."""

    index: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold."""

    max_characters: int
    max_texts: int
    max_body_bytes: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """What is being served; `body` is all of the answer of `GET /model`."""

    model: str  # the name that stands in each answer
    labels: tuple[str, ...]
    max_tokens: int
    evidence: bool
    uncertain_below: float
    limits: Limits
    body: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From the JSON object of the service. Raises KeyError, TypeError where it is none."""
        limits = Limits(**{name: body["limits"][name] for name in Limits.__slots__})
        return cls(
            body["model"],
            tuple(body["labels"]),
            body["max_tokens"],
            body["evidence"],
            body["uncertain_below"],
            limits,
            body,
        )


def _evidence(found: Mapping[str, Any]) -> Evidence:
    tokens = (Token(token["start"], token["end"], token["weight"]) for token in found["tokens"])
    return Evidence(found["bias"], tuple(tokens))


def _sentence(found: Mapping[str, Any]) -> Sentence:
    return Sentence(**{name: found[name] for name in Sentence.__slots__})


def _seconds(retry_after: str | None) -> float | None:
    """The seconds in a Retry-After; one that is a date is left to the client's own pauses."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
