"""The texts that benchmarks send: real reviews, or made-up ones of the same lengths.

`python -m benchmarks.load.stream --data aclImdb_v1.tar.gz` writes `lengths.json`, the histogram that the made-up texts
follow. Only texts are read, never a label.
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
MODEL = Path("models/imdb-bilstm")
# Of words by rank: p ~ 1 / (rank + shift) ** power. Chosen so that the made-up texts look to a tokenizer as the test
# reviews do: the 10, 100, 1,000 commonest words are 28, 56, 78 % of all (reviews: 28, 57, 81 %), and the whole text has
# 4.87 characters a token (reviews: 4.90, of which 0.09 are `<br />`) and 263.5 tokens (reviews: 263.9) in the mean.
_POWER, _SHIFT = 1.15, 2.2


def reviews(count: int, data: Path | None, seed: int) -> list[str]:
    """`count` texts: test reviews of the archive `data` in an order that `seed` tells, else made-up ones.

    Where more are asked for than the archive has, they come again in the same order.
    """
    generator = np.random.default_rng(seed)
    if data is None:
        return _made_up(count, generator)
    texts = _test_reviews(data)
    order = generator.permutation(len(texts)).tolist()
    return [texts[index] for index in itertools.islice(itertools.cycle(order), count)]


def histogram(lengths: Sequence[int]) -> dict[str, Any]:
    """Counts of `lengths` in tokens: bins of 5 up to 400, of 20 up to 1,000, of 100 beyond.

    Bin i is edges[i] <= tokens < edges[i + 1].
    """
    edges = [*range(0, 400, 5), *range(400, 1000, 20), *range(1000, max(1000, *lengths) + 101, 100)]
    counts, _ = np.histogram(lengths, edges)
    return {"reviews": len(lengths), "tokens": sum(lengths), "edges": edges, "counts": counts.tolist()}


def _made_up(count: int, generator: np.random.Generator) -> list[str]:
    found = json.loads(LENGTHS.read_text())
    edges, counts = np.array(found["edges"]), np.array(found["counts"])
    bins = generator.choice(len(counts), count, p=counts / counts.sum())
    lengths = np.maximum(1, generator.integers(edges[bins], edges[bins + 1]))
    # The vocabulary stands in the order of how common its words are; the first two entries are no words. Marks follow
    # the word before them at once, as in real text.
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
    """Writes lengths.json anew and prints how the made-up texts compare."""
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
