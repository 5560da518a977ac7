"""What an encoder knows of words, as embeddings to start from."""

from pathlib import Path

import numpy as np
import torch

from training.recipe import encoder_network, word_view


class Pieces:
    """A tokenizer with this vocabulary."""

    def get_vocab(self) -> dict[str, int]:
        return {"film": 7, "[CLS]": 0, "##ing": 1, "a": 2, "the": 3, "The": 4, "café": 5, "2nd": 6, "of": 8, "!": 9}


def test_common_words_are_whole_words_in_the_order_of_the_vocabulary() -> None:
    assert word_view.common_words(Pieces()) == ["the", "film", "of"]


def test_the_directions_in_which_words_spread_are_kept() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([5.0, 0.1, 3.0, 0.1, 1.0, 0.1])
    turned = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    plain = generator.normal(size=(2000, 6)) * spread
    means = (plain @ turned + 40).astype(np.float32)
    found = word_view.reduced(means, np.zeros(2000, np.int64), 3)
    assert found.dtype == np.float32
    assert found.shape == (2000, 3)
    # Distances between words are what they were, in one scale, but for the little that lies in the other directions.
    pairs = generator.integers(0, 2000, (2, 500))
    before, after = (np.linalg.norm(of[pairs[0]] - of[pairs[1]], axis=1) for of in (plain, found))
    ratio = after[before > 1] / before[before > 1]
    assert ratio.std() < 0.02 * ratio.mean()


def test_frequent_words_decide_which_directions_are_kept() -> None:
    generator = np.random.default_rng(0)
    means = np.zeros((400, 2), np.float32)
    means[:200, 0] = generator.normal(size=200) * 2  # rare words differ in the first number, frequent ones in the other
    means[200:, 1] = generator.normal(size=200)
    counts = np.repeat([0, 10_000], 200)
    assert np.abs(word_view.reduced(means, counts, 1)[200:]).std() > 0.05
    assert np.abs(word_view.reduced(means, 0 * counts, 1)[200:]).std() < 0.01


def test_words_that_are_all_alike_have_no_directions() -> None:
    found = word_view.reduced(np.ones((5, 4), np.float32), np.arange(5), 2)
    assert np.isfinite(found).all()


def test_embeddings_are_one_a_word_in_its_order(tiny_encoder: Path) -> None:
    network, tokenizer = encoder_network.open_encoder(str(tiny_encoder), 2)
    words = ["film", "good", "awfully", "unheard-of", "film"]
    found = word_view.embeddings(network, tokenizer, words, np.arange(5), 3, torch.device("cpu"))
    assert found.shape == (5, 3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0], found[4])
    assert not torch.allclose(found[0], found[1])
