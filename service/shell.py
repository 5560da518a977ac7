"""Texts in the shell: what `ovation predict` reads, and how it shows an answer to people."""

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise

import click

from service.model.classifier import Classifier, Prediction, Sentence
from service.model.sentences import sentences as split
from service.model.tokenizer import BlankText

STDIN = "-"
_COLOURS = ("red", "green", "yellow", "blue", "magenta", "cyan")  # of labels, in the bundle's order
_STRONG, _WEAK = 0.5, 0.1  # of the largest weight: from here on a token is bold, or coloured at all
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "�")  # a terminal would obey them


def texts(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The texts with their places: the arguments, or the lines of standard input for `-` alone."""
    if list(arguments) != [STDIN]:
        yield from ((f"text {number}", text) for number, text in enumerate(arguments, 1))
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield f"line {number}", line.decode("utf-8", "replace").rstrip("\r\n")


def predict(classifier: Classifier, text: str, evidence: bool, sentences: bool) -> Prediction:
    """The answer that the service gives. Raises BlankText, EvidenceUnavailable."""
    [prediction] = classifier([text], evidence)
    if not sentences:
        return prediction
    found = list[Sentence]()
    for start, end in split(text):
        try:
            [one] = classifier([text[start:end]])
        except BlankText:  # broken HTML
            continue
        found.append(Sentence(start, end, one.label, one.score, one.uncertain))
    return prediction._replace(sentences=found)


def is_colourful() -> bool:
    """Whether standard output is a terminal that shows colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, prediction: Prediction, labels: Sequence[str]) -> str:
    """The answer in words, and the text, whose tokens or sentences have the colour of the label they speak for."""
    shown = text.translate(_CONTROLS)
    lines = [_told(prediction.label, prediction.score, prediction.uncertain, labels)]
    if prediction.evidence is not None:
        spans = prediction.evidence.tokens
        largest = max((abs(weight) for _, _, weight in spans), default=0.0)
        against = next((label for label in labels if label != prediction.label), prediction.label)
        styled = [
            (start, end, _token(shown[start:end], weight / (largest or 1), prediction.label, against, labels))
            for start, end, weight in spans
        ]
        lines.append(_joined(shown, styled))
    for sentence in prediction.sentences or ():
        words = click.style(shown[sentence.start : sentence.end], fg=_colour(sentence.label, labels))
        lines.append(f"  {_told(sentence.label, sentence.score, sentence.uncertain, labels)}: {words}")
    return "\n".join(lines)


def _told(label: str, score: float, uncertain: bool, labels: Sequence[str]) -> str:
    return f"{click.style(label, fg=_colour(label, labels), bold=True)} {score:.3f}{', uncertain' if uncertain else ''}"


def _colour(label: str, labels: Sequence[str]) -> str:
    return _COLOURS[list(labels).index(label) % len(_COLOURS)]


def _token(token: str, share: float, label: str, against: str, labels: Sequence[str]) -> str:
    """A token; `share` is its part of the largest weight, below 0 where it speaks against `label`."""
    if abs(share) < _WEAK:
        return token
    return click.style(token, fg=_colour(label if share > 0 else against, labels), bold=abs(share) >= _STRONG)


def _joined(text: str, styled: Sequence[tuple[int, int, str]]) -> str:
    """The text with the `styled` parts (start, end, content) in it; what was not read of a long text is dim."""
    if not styled:
        return text
    content = [text[: styled[0][0]], styled[0][2]]
    for (_, end, _), (start, _, following) in pairwise(styled):
        between = text[end:start]
        content += [click.style(between, dim=True) if between.strip() else between, following]
    return "".join([*content, text[styled[-1][1] :]])
