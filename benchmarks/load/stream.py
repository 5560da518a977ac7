"""The texts that benchmarks send: test reviews, or made-up texts with the same distribution of lengths.

`python -m benchmarks.load.stream --data aclImdb_v1.tar.gz` writes `lengths.json`, the histogram from which the lengths
of made-up texts are drawn. Labels are not read.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from service.model import bundle
from service.model.tokenizer import words
from training.data.sources import Source

LENGTHS = Path(__file__).parent / "lengths.json"
MODEL = Path("models/reviews-bilstm")
# Zipf-Mandelbrot law of a word's probability by rank: p ~ 1 / (rank + shift) ** power, fitted to the test reviews: the
# 10, 100, 1,000 most frequent words are 28, 56, 78 % of all (reviews: 28, 57, 81 %), and a text has 4.87 characters per
# token (reviews: 4.90, of which 0.09 are `<br />`) and 263.5 tokens (reviews: 263.9) in the mean.
_POWER, _SHIFT = 1.15, 2.2


def reviews(count: int, data: Path | None, seed: int) -> list[str]:
    """`count` texts: the test reviews of the archive `data`, shuffled by `seed`, or made-up texts without `data`.

    If the archive has fewer than `count`, its reviews are repeated in the same order.
    """
    generator = np.random.default_rng(seed)
    if data is None:
        return _made_up(count, generator)
    texts = _test_reviews(data)
    order = generator.permutation(len(texts)).tolist()
    return [texts[index] for index in itertools.islice(itertools.cycle(order), count)]


def histogram(lengths: Sequence[int]) -> dict[str, Any]:
    """The histogram of `lengths` in tokens, with bins of 5 up to 400, of 20 up to 1,000, of 100 beyond.

    Bin i is edges[i] <= tokens < edges[i + 1].
    """
    edges = [*range(0, 400, 5), *range(400, 1000, 20), *range(1000, max(1000, *lengths) + 101, 100)]
    counts, _ = np.histogram(lengths, edges)
    return {"reviews": len(lengths), "tokens": sum(lengths), "edges": edges, "counts": counts.tolist()}


def _made_up(count: int, generator: np.random.Generator) -> list[str]:
    saved = json.loads(LENGTHS.read_text())
    edges, counts = np.array(saved["edges"]), np.array(saved["counts"])
    bins = generator.choice(len(counts), count, p=counts / counts.sum())
    lengths = np.maximum(1, generator.integers(edges[bins], edges[bins + 1]))
    # The vocabulary is sorted by frequency; its first two entries are special. Marks follow the previous word without a
    # space, as in real text.
    vocabulary = bundle.read(MODEL).tokenizer.vocabulary[2:]
    pieces = [f" {word}" if word[0].isalnum() else word for word in vocabulary]
    weights = 1 / (np.arange(1, len(pieces) + 1) + _SHIFT) ** _POWER
    ranks = generator.choice(len(pieces), lengths.sum(), p=weights / weights.sum()).tolist()
    ends = np.cumsum(lengths).tolist()
    return ["".join(pieces[rank] for rank in ranks[a:b]).strip() for a, b in itertools.pairwise([0, *ends])]


def _test_reviews(data: Path) -> list[str]:
    return [review.text for review in Source(data) if review.split == "test"]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="aclImdb_v1.tar.gz")
def main(data: Path) -> None:
    """Writes lengths.json, and prints statistics of the reviews and of made-up texts for comparison."""
    real = _test_reviews(data)
    LENGTHS.write_text(json.dumps(histogram([len(words(text)) for text in real])) + "\n")
    for name, texts in (("reviews", real), ("made up", reviews(len(real), None, 0))):
        tokens = sum(len(words(text)) for text in texts)
        click.echo(
            f"{name}: {len(texts):,} texts, {tokens / len(texts):.1f} tokens a text, "
            f"{sum(map(len, texts)) / tokens:.3f} characters a token, "
            f"{sum(len(text.encode()) for text in texts) / tokens:.3f} bytes"
        )


if __name__ == "__main__":
    main()
