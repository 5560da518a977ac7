import math
from types import SimpleNamespace
from typing import cast

import pytest

from service.model.classifier import Classifier
from tests.conftest import made_up_reviews
from training.evaluation import faithfulness

TEXT = "The film was wonderful. Her performance, I thought, was charming!"


def score_without(classifier: Classifier, spans: list[tuple[int, int]], label: str) -> float:
    text = TEXT
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    [prediction] = classifier([text])
    return prediction.probabilities[label]


def test_the_curves_are_what_is_answered_to_the_text_without_those_words(tiny_classifier: Classifier) -> None:
    found = faithfulness.report(tiny_classifier, [TEXT])
    assert found is not None
    [answer] = tiny_classifier([TEXT], evidence=True)
    assert answer.evidence
    assert found["score"] == answer.score
    spans = [(start, end) for start, end, _ in answer.evidence.tokens]
    counts = [math.ceil(share * len(spans)) for share in faithfulness.SHARES]
    assert counts == [1, 1, 1, 2, 3, 7]
    by_evidence = [(s, e) for s, e, _ in sorted(answer.evidence.tokens, key=lambda token: -token[2])]
    alone = {span: score_without(tiny_classifier, [span], answer.label) for span in spans}
    for order, first in (("evidence", by_evidence), ("occlusion", sorted(spans, key=lambda span: alone[span]))):
        left = [score_without(tiny_classifier, first[:count], answer.label) for count in counts]
        one = found["orders"][order]
        assert one["score_left"] == pytest.approx(left, abs=1e-12)
        assert one["area"] == pytest.approx(answer.score - sum(left) / len(left))
    assert found["orders"]["occlusion"]["forwards_a_text"] == len(spans) + 1
    assert found["orders"]["random"]["forwards_a_text"] == 0


def test_occlusion_finds_more_than_chance(tiny_classifier: Classifier) -> None:
    texts = [text for text, _ in made_up_reviews()[::5]]
    found = faithfulness.report(tiny_classifier, texts)
    assert found is not None
    areas = {order: one["area"] for order, one in found["orders"].items()}
    assert areas["occlusion"] > areas["random"]
    low, high = found["orders"]["evidence"]["area_interval_95"]
    assert low < areas["evidence"] < high
    again = faithfulness.report(tiny_classifier, texts[::-1])
    assert again is not None
    assert again["orders"]["random"]["area"] == pytest.approx(areas["random"])


def test_nothing_can_be_removed_without_evidence_or_from_one_word(tiny_classifier: Classifier) -> None:
    article = cast(Classifier, SimpleNamespace(manifest=SimpleNamespace(evidence=False)))
    assert faithfulness.report(article, [TEXT]) is None
    assert faithfulness.report(tiny_classifier, ["Superb"]) is None
    found = faithfulness.report(tiny_classifier, ["Superb", "Not superb"])
    assert found is not None
    assert found["texts"] == 1
