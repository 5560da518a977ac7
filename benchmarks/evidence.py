"""`python -m benchmarks.evidence --data aclImdb_v1.tar.gz`: checks the sum of the evidence and the tokens' offsets.

Reads the texts of the first reviews of the test split, not their labels.
"""

from itertools import islice
from pathlib import Path

import click
import numpy as np

from service.model import bundle
from service.model.classifier import Classifier
from service.model.tokenizer import tokens
from training.data.sources import Source


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default="models/reviews-bilstm")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--reviews", type=click.IntRange(1), default=1000)
def main(model: Path, data: Path, reviews: int) -> None:
    """Prints the largest difference between the sum of the evidence and the margin; fails if an offset is wrong."""
    classifier = Classifier(bundle.read(model), "cpu")
    tokenizer = classifier.tokenizer
    worst = 0.0
    for review in islice((review for review in Source(data) if review.split == "test"), reviews):
        [prediction] = classifier([review.text], evidence=True)
        [logits], _ = classifier.run(tokenizer.batch([review.text]))
        winner = classifier.manifest.labels.index(prediction.label)
        margin = float(logits[winner] - np.delete(logits, winner).mean())
        assert prediction.evidence is not None
        total = prediction.evidence.bias + sum(weight for _, _, weight in prediction.evidence.tokens)
        worst = max(worst, abs(total - margin))
        spans = [(start, end) for _, start, end in tokens(review.text, tokenizer.rules)]
        read = [span for part in tokenizer.keep(len(spans)) for span in spans[part]]
        if [(start, end) for start, end, _ in prediction.evidence.tokens] != read:
            raise click.ClickException(f"{review.place}: expected the tokens at their offsets, found others")
    click.echo(
        f"{classifier.name}, {reviews:,} test reviews: evidence and bias sum to the margin within {worst:.1e}; "
        "every token is found at its offsets"
    )


if __name__ == "__main__":
    main()
