"""Sentences that lean to no label, and what is shown beside them."""

import numpy as np
import pytest
import torch

from service.model.tokenizer import UNKNOWN
from training.fitting.examples import Examples
from training.network.bilstm import BiLSTM
from training.recipe import neutral
from training.recipe.targets import reduced

VOCABULARY = ["", "?", ".", "dull", "fine", "tea", "bus"]
DULL, FINE, TEA, BUS, STOP = 3, 4, 5, 6, 2


def reviews(*texts: list[int]) -> Examples:
    ends = np.cumsum([len(text) for text in texts])
    starts = np.concatenate([[0], ends[:-1]])
    targets = np.eye(2, dtype=np.float32)[np.arange(len(texts)) % 2]
    return Examples(np.concatenate([np.array(text, np.int32) for text in texts]), starts, ends, targets)


def teacher() -> BiLSTM:
    """One whose pairs of tokens alone decide: two times tea or bus says nothing."""
    torch.manual_seed(0)
    model = BiLSTM(len(VOCABULARY), 4, 4, 2, "pooled")
    torch.nn.init.zeros_(model.output.weight)
    model.output.weight.data[1, :4] = 50.0  # over the maximum of the forward states ...
    torch.nn.init.zeros_(model.embedding.weight)
    model.embedding.weight.data[[DULL, FINE]] = 5.0  # ... which only these words move much
    model.output.bias.data[1] = -50 * float(states(model, [TEA, BUS, TEA, BUS, STOP]).max(dim=0).values.sum())
    return model.eval()


def states(model: BiLSTM, text: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.forward_lstm(model.embedding(torch.tensor(text))[:, None])[0][:, 0]
    return found


PLAIN = [TEA, BUS, TEA, BUS, STOP]


def test_finds_the_sentences_that_the_teacher_leaves_open() -> None:
    shown = reviews([*PLAIN, DULL, TEA, DULL, BUS, STOP], [FINE, FINE, TEA, FINE, STOP, *PLAIN])
    found = neutral.find(teacher(), shown, shown, VOCABULARY, 1, "fp32")  # so few labels tell nothing of the words
    assert [text.tolist() for text in found] == [PLAIN, PLAIN]


def test_finds_no_sentence_with_a_word_that_leans_to_a_label() -> None:
    labelled = reviews(*([TEA, BUS, DULL if index % 2 else FINE] for index in range(100)))
    shown = reviews([*PLAIN, DULL, TEA, DULL, BUS, STOP], [FINE, FINE, TEA, FINE, STOP, *PLAIN])
    indifferent = teacher()
    torch.nn.init.zeros_(indifferent.output.weight)
    torch.nn.init.zeros_(indifferent.output.bias)
    found = neutral.find(indifferent, labelled, shown, VOCABULARY, 1, "fp32")
    assert [text.tolist() for text in found] == [PLAIN, PLAIN]
    assert len(neutral.find(indifferent, shown, shown, VOCABULARY, 1, "fp32")) == 4


def test_finds_none_where_there_are_none() -> None:
    too_short = reviews([TEA], [BUS])
    assert neutral.find(teacher(), too_short, too_short, VOCABULARY, 1, "fp32") == []


@pytest.mark.parametrize("reviews_of_each", [(300, 100), (1900, 100), (100, 100, 400)])
def test_a_word_that_stands_anywhere_alike_leans_to_no_label_however_rare(reviews_of_each: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(reviews_of_each)), reviews_of_each)
    # In each half of every label's reviews; nowhere; in half of those of the last label alone.
    texts = [[BUS if place % 2 else TEA, FINE if label == labels[-1] and place % 2 else UNKNOWN]
             for place, label in enumerate(labels)]  # fmt: skip
    ends = 2 * np.arange(1, len(texts) + 1)
    targets = np.eye(len(reviews_of_each), dtype=np.float32)[labels]
    leans = neutral._leans(Examples(np.array(texts, np.int32).ravel(), ends - 2, ends, targets), len(VOCABULARY))
    assert leans.tolist() == [False, False, False, False, True, False, False]


def test_puts_them_beside_reviews_under_the_label_of_the_review() -> None:
    shown = reviews(*([DULL] * 3 if index % 2 else [FINE] * 3 for index in range(40)))
    sentences = [np.array([TEA, BUS, STOP], np.int32), np.array([BUS] * 7, np.int32)]
    found = neutral.with_neutral(shown, sentences, 30, 20, 1, 0)
    assert len(found) == 40 + 20 + 20
    assert found.starts[:40].tolist() == shown.starts.tolist()
    befores = 0
    for start, end, target in zip(found.starts[40:60], found.ends[40:60], found.targets[40:60], strict=True):
        text = found.token_ids[start:end].tolist()
        word = DULL if target[1] else FINE
        before, after = text[:3] == [word] * 3, text[-3:] == [word] * 3
        assert before != after
        assert set(text[3:] if before else text[:-3]) <= {TEA, BUS, STOP}
        assert 20 <= len(text) - 3 < 320 + 7
        befores += before
    assert 0 < befores < 20
    for start, end, target in zip(found.starts[60:], found.ends[60:], found.targets[60:], strict=True):
        assert set(found.token_ids[start:end].tolist()) <= {TEA, BUS, STOP}
        assert target.tolist() == [0.5, 0.5]


def test_epochs_draw_others_and_as_many() -> None:
    shown, sentences = reviews(*([FINE, index % 7] for index in range(50))), [np.array([TEA] * 9, np.int32)]
    first, again, other = (neutral.with_neutral(shown, sentences, 50, 10, 1, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first.token_ids, again.token_ids)
    assert not np.array_equal(first.token_ids, other.token_ids)
    assert len(first) == len(other)


def test_a_reduced_embedding_keeps_what_spreads_most_and_the_origin() -> None:
    torch.manual_seed(0)
    plane = torch.randn(50, 2) @ torch.randn(2, 6)
    plane[0] = 0
    found = reduced(plane + 1e-4 * torch.randn(50, 6) * (plane != 0), np.full(50, 3), 2)
    assert found.shape == (50, 2)
    torch.testing.assert_close(found @ found.T, plane @ plane.T, atol=1e-2, rtol=1e-2)
    assert not found[0].any()


def test_runs_of_their_own_have_the_lengths_asked_for() -> None:
    sentences = [np.array([TEA, STOP], np.int32), np.array([BUS] * 3, np.int32)]
    found, again, other = (neutral.alone(sentences, 30, (4, 9), 1, epoch) for epoch in (0, 0, 1))
    assert all(4 <= len(text) <= 10 for text in found)
    assert [text.tolist() for text in found] == [text.tolist() for text in again]
    assert [text.tolist() for text in found] != [text.tolist() for text in other]
