"""`python -m benchmarks.latency`: the time of one review on one core, alone, and of its parts.

The text has 256 tokens of the bundle's own vocabulary; every figure is the median of many calls in one run.
"""

import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import click

from service.model import bundle
from service.model.classifier import Classifier

TOKENS = 256
REPEATS = 2000


def median_ms(call: Callable[[], object]) -> float:
    """Median milliseconds of REPEATS calls, after a tenth as many that do not count."""
    seconds = []
    for _ in range(REPEATS // 10 + REPEATS):
        began = perf_counter()
        call()
        seconds.append(perf_counter() - began)
    return statistics.median(seconds[REPEATS // 10 :]) * 1e3


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default="models/reviews-bilstm")
def main(model: Path) -> None:
    """Prints a table of medians in ms."""
    classifier = Classifier(bundle.read(model), "cpu")
    words = [word for word in classifier.tokenizer.vocabulary[2:] if word.isalpha()]
    text = " ".join(words[index * 37 % 5000] for index in range(TOKENS))
    encoded, with_spans = (classifier.tokenizer.encode(text, spans=spans) for spans in (False, True))
    assert encoded.tokens == TOKENS
    rows = {
        "tokenizer": median_ms(lambda: classifier.tokenizer.encode(text)),
        "network": median_ms(lambda: classifier.predict([encoded])),
        "network with evidence": median_ms(lambda: classifier.predict([with_spans])),
        "tokenizer and network": median_ms(lambda: classifier([text])),
    }
    click.echo(f"{classifier.name}, fp32, {TOKENS} tokens, one thread, {platform.machine()} {_processor()}")
    for name, value in rows.items():
        click.echo(f"{name:24} {value:.3f} ms")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
