"""The probe's two sets, and the count of what a model gets right in them."""

import hashlib
import re
from collections import Counter
from importlib.resources import files
from itertools import product
from types import SimpleNamespace
from typing import cast

import pytest

from service.model.classifier import Classifier
from training.evaluation import negation
from training.evaluation.negation import Pair

SETS = {name: negation.read(name) for name in negation.SETS.values()}
FIRST, HELD_OUT = SETS.values()

# The words that both sets may use: those that no English sentence does without.
FUNCTION_WORDS = "a about at be could did for have i in is it me no not of one out the this through to was would"
SUFFIXES = "ingly edly iness ness tion able ible ing ers ed er es ly al y s e"


def words(pairs: list[Pair]) -> set[str]:
    halves = " ".join(half for pair in pairs for half in (pair.positive, pair.negative))
    return set(re.findall(r"[a-z]+", halves.lower().replace("n't", " not"))) - set(FUNCTION_WORDS.split())


def stem(word: str) -> str:
    cut = next((suffix for suffix in SUFFIXES.split() if word.endswith(suffix) and len(word) - len(suffix) >= 3), "")
    return word.removesuffix(cut)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("negation.tsv", "ee7040d4c473f80733de12f211bfe56ef7197556e2bdeaabae074965b72290e4"),
        ("negation-held-out.tsv", "e06b0ad7a9c0bb5bc2e7f62d2841fb1ca667085b1009c8e04a265ef023d51eff"),
    ],
)
def test_the_sets_are_frozen(name: str, digest: str) -> None:
    data = files("training.evaluation").joinpath("probes", name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest, "a model's figure would no longer be of the same probe"


@pytest.mark.parametrize("pairs", SETS.values(), ids=SETS)
def test_pairs_are_many_balanced_and_without_repeats(pairs: list[Pair]) -> None:
    halves = [half for pair in pairs for half in (pair.positive, pair.negative)]
    assert len(pairs) >= 250
    assert len({half.lower() for half in halves}) == len(halves)
    assert max(Counter(pair.template for pair in pairs).values()) <= 0.1 * len(pairs)
    assert max(Counter(pair.pattern for pair in pairs).values()) <= 0.15 * len(pairs)
    # Neither half can be told by its length, and most pairs not by a word that keeps its sense.
    longer = [len(pair.positive) - len(pair.negative) for pair in pairs]
    assert abs(sum(longer)) / len(pairs) <= 1.5  # characters
    assert 0.1 <= sum(pair.pattern.startswith("not flipped") for pair in pairs) / len(pairs) <= 0.2


@pytest.mark.parametrize("pairs", SETS.values(), ids=SETS)
def test_both_halves_are_of_their_template_and_its_subject(pairs: list[Pair]) -> None:
    for pair in pairs:
        frame = re.escape(pair.template)
        frame = re.sub(r"\\\{(word|other)\\\}", "[a-z' -]+", frame)
        one, other = (frame.replace(r"\{subject\}", slot) for slot in ("(?P<subject>[a-z ]+)", "(?P=subject)"))
        both = f"{one}\n{other}"
        assert re.fullmatch(both, f"{pair.positive}\n{pair.negative}", re.IGNORECASE), pair


def test_the_sets_share_no_template() -> None:
    def frame(pair: Pair) -> str:
        return re.sub(r"[^a-z{} ]", "", pair.template.lower())

    frames = [{frame(pair) for pair in pairs} for pairs in SETS.values()]
    assert not frames[0] & frames[1]
    assert all(len(found) >= 25 for found in frames)


def test_the_sets_share_no_word_but_function_words() -> None:
    first, second = words(FIRST), words(HELD_OUT)
    assert len(first) > 100
    assert len(second) > 100
    for one, other in product(first, second):
        assert stem(one) != stem(other), (one, other)
        assert len(one) < 5 or one[:5] != other[:5], (one, other)


def test_a_pair_counts_where_both_halves_are_right(tiny_classifier: Classifier) -> None:
    texts = ("The film was awful.", "The film was wonderful.")
    judged = {prediction.label: text for text, prediction in zip(texts, tiny_classifier(texts), strict=True)}
    assert set(judged) == {"negative", "positive"}
    right, wrong = (
        Pair(pattern, "", judged[positive], judged[negative])
        for pattern, positive, negative in (("a", "positive", "negative"), ("b", "negative", "positive"))
    )
    half = Pair("b", "", judged["positive"], judged["positive"])
    found = negation.report(tiny_classifier, [right, wrong, half, right])
    assert found is not None
    assert (found["pairs"], found["both_right"], found["halves_right"]) == (4, 0.5, 5 / 8)
    assert found["by_pattern"] == {
        "a": {"pairs": 2, "both_right": 1.0, "halves_right": 1.0},
        "b": {"pairs": 2, "both_right": 0.0, "halves_right": 0.25},
    }


def test_the_probe_is_for_positive_and_negative() -> None:
    stars = cast(Classifier, SimpleNamespace(manifest=SimpleNamespace(labels=("1", "2"))))
    assert negation.report(stars, FIRST) is None
