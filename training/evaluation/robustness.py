"""What a model's accuracy loses when the same reviews come mistyped, shouted, padded, shuffled or cut.

Every change is drawn from the text itself: the same review is changed in the same way in any run and any sample.
"""

import math
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple

import numpy as np

from service.model.classifier import Classifier
from service.model.sentences import sentences as find_sentences
from service.model.tokenizer import BlankText, Encoded, is_blank, tokens
from training.data.corpus import Labelled, text_digest
from training.evaluation.evaluate import judge
from training.evaluation.intervals import paired_interval

# Plots and facts of 100 to 300 tokens that praise and blame nothing, written for this project.
NEUTRAL_TEXTS = tuple(
    files("training.evaluation").joinpath("probes", "neutral.txt").read_text(encoding="utf-8").splitlines()
)
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MARK = re.compile(r"(?!(?<=[^\W_])['\u2019](?=[^\W_]))[^\w\s]|_")  # all but the apostrophe inside a word
_CUT_TOKENS, _LONG_TOKENS = 128, 10_000
_SHORTEST_SENTENCE = 5  # words


class Perturbation(NamedTuple):
    """A change to a review's text."""

    name: str
    change: Callable[[str, Random], str]
    keeps: bool  # whether what the review says is still all there, so that nothing need be lost


def _typos(rate: float) -> Callable[[str, Random], str]:
    def change(text: str, random: Random) -> str:
        letters = list(_LINE_BREAK.sub(" ", text))
        places = [place for place, letter in enumerate(letters) if letter.isalpha()]
        for place in sorted(random.sample(places, round(rate * len(places))), reverse=True):
            after = letters[place + 1] if place + 1 < len(letters) else ""
            if after.isalpha() and random.random() < 0.5:
                letters[place : place + 2] = after, letters[place]
            else:
                del letters[place]
        return "".join(letters)

    return change


def sentences(text: str) -> list[str]:
    """The sentences of `text`."""
    return [text[start:end] for start, end in find_sentences(text)]


def _shuffled(text: str, random: Random) -> str:
    found = sentences(text)
    random.shuffle(found)
    return " ".join(found)


def _single(text: str, random: Random) -> str:
    found = sentences(text)
    long = [sentence for sentence in found if len(sentence.split()) >= _SHORTEST_SENTENCE]
    return random.choice(long) if long else max(found, key=len)


def _first(text: str, _: Random) -> str:
    places = [end for _, _, end in tokens(text)]
    return text[: places[min(len(places), _CUT_TOKENS) - 1]]


def _last(text: str, _: Random) -> str:
    places = [start for _, start, _ in tokens(text)]
    return text[places[-min(len(places), _CUT_TOKENS)] :]


def _times(text: str) -> int:
    """How many copies make up a very long text."""
    return math.ceil(_LONG_TOKENS / sum(1 for _ in tokens(text)))


def _padded(text: str, random: Random) -> str:
    filler = random.choice(NEUTRAL_TEXTS)
    return " ".join([text, *[filler] * _times(filler)])


PERTURBATIONS = (
    Perturbation("typos, 1 % of letters swapped or dropped", _typos(0.01), True),
    Perturbation("typos, 3 %", _typos(0.03), True),
    Perturbation("lower case", lambda text, _: text.lower(), True),
    Perturbation("upper case", lambda text, _: text.upper(), True),
    Perturbation("no punctuation", lambda text, _: _MARK.sub(" ", _LINE_BREAK.sub(" ", text)), True),
    Perturbation("`<br /><br />` after every sentence", lambda text, _: "<br /><br />".join(sentences(text)), True),
    Perturbation("neutral text after it", lambda text, random: f"{text} {random.choice(NEUTRAL_TEXTS)}", True),
    Perturbation("neutral text before it", lambda text, random: f"{random.choice(NEUTRAL_TEXTS)} {text}", True),
    Perturbation("sentences shuffled", _shuffled, True),
    Perturbation("repeated up to 10,000 tokens", lambda text, _: " ".join([text] * _times(text)), True),
    Perturbation("neutral text up to 10,000 tokens after it", _padded, False),
    Perturbation("one sentence of it", _single, False),
    Perturbation("its first 128 tokens", _first, False),
    Perturbation("its last 128 tokens", _last, False),
)

# Texts that hold little or nothing to judge by.
_ODD_TEXTS = {
    "white space": " \n\t",
    "a line break of HTML": "<br />",
    "one mark": "!",
    "one emoji": "🙂",
    "unknown words only": "xqzvkw wvqkzz zzgrphq",
    **{f"neutral text {number}": text for number, text in enumerate(NEUTRAL_TEXTS, 1)},
}


def report(classifier: Classifier, reviews: Sequence[Labelled]) -> dict[str, Any]:
    """Accuracy on reviews as they are, and what of it is lost under each perturbation."""
    texts, labels = [review.text for review in reviews], np.array([review.label for review in reviews])
    plain = [classifier.tokenizer.encode(text) for text in texts]
    judged = _labels(classifier, plain)
    right, found = judged == labels, {}
    for perturbation in PERTURBATIONS:
        other = [classifier.tokenizer.encode(changed(text, perturbation)) for text in texts]
        judged_now = _labels(classifier, other)
        right_now = judged_now == labels
        lost, won = int((right & ~right_now).sum()), int((right_now & ~right).sum())
        same = (np.array_equal(a.token_ids, b.token_ids) for a, b in zip(plain, other, strict=True))
        found[perturbation.name] = {
            "keeps_what_is_said": perturbation.keeps,
            "accuracy": float(right_now.mean()),
            "fall": (lost - won) / len(labels),
            "fall_interval_95": paired_interval(lost, won, len(labels)),
            "other_label": float((judged_now != judged).mean()),
            "same_tokens": sum(same) / len(labels),
        }
    return {"reviews": len(labels), "accuracy": float(right.mean()), "perturbations": found}


def odd_texts(classifier: Classifier) -> dict[str, Any]:
    """What is answered to texts that hold little or nothing to judge by."""
    return {name: _answer(classifier, text) for name, text in _ODD_TEXTS.items()}


def changed(text: str, perturbation: Perturbation) -> str:
    """`text` perturbed, in the one way that it ever is; as it was where nothing would be left."""
    found = perturbation.change(text, Random(f"{perturbation.name} {text_digest(text)}"))
    return text if is_blank(found) else found


def _labels(classifier: Classifier, encoded: Sequence[Encoded]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The index of the label that each text is judged as, [text]."""
    return np.array([classifier.manifest.labels.index(found.label) for found in judge(classifier, encoded)])


def _answer(classifier: Classifier, text: str) -> dict[str, Any]:
    try:
        [found] = classifier([text])
    except BlankText:
        return {"refused": True}
    keys = ("tokens", "unknown_share", "label", "score", "uncertain")
    return {"refused": False, **{key: getattr(found, key) for key in keys}}
